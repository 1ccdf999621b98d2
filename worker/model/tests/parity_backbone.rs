//! The frozen image tower against the recorded one.

use tch::Kind;
use ulda_golden::{Fixture, Report, Tolerance};
use ulda_model::{Backbone, Weights};

const LAYERS: Tolerance = Tolerance::OfMax(2e-5);

#[test]
fn both_branches_equal_the_recorded_layers() {
    let weights = Weights::read(&ulda_golden::path("tiny_clip.pt")).unwrap();
    let backbone = Backbone::load(&weights).unwrap().to_device(ulda_golden::device());
    let golden = Fixture::load("backbone");
    let images = Fixture::load("stage1").f32("images");
    let mut report = Report::new("backbone");
    let mut check = |name: &str, ours: &tch::Tensor| {
        report.compare("layers", name, ours, &golden.f32(name), LAYERS);
    };
    tch::no_grad(|| {
        check("stem_sample0", &backbone.stem(&images.narrow(0, 0, 1)));
        let low = backbone.stem_and_layer1(&images);
        check("layer1_sample0", &low.narrow(0, 0, 1));
        let bare = backbone.low_level_without_last_relu(&images);
        check(
            "layer1_norelu_sample0_rows0to11",
            &bare.narrow(0, 0, 1).narrow(2, 0, 12),
        );
        let layer2 = backbone.layer2(&low);
        let layer3 = backbone.layer3(&layer2);
        check("layer2", &layer2);
        check("layer3", &layer3);
        check("layer4", &backbone.layer4(&layer3));
        check("layer4_dilated", &backbone.deep(&low));
        let pooled = low.adaptive_avg_pool2d([16, 16]);
        check("pooled16_sample0", &pooled.narrow(0, 0, 1));
        check(
            "attnpool_from_pooled16",
            &backbone.clip_embedding(&pooled).unwrap(),
        );
        let low = backbone.stem_and_layer1(&golden.f32("image64"));
        check("encode_image64", &backbone.clip_embedding(&low).unwrap());
        let low = backbone.stem_and_layer1(&golden.f32("image_odd"));
        check("odd.layer1", &low);
        check(
            "odd.layer4",
            &backbone.layer4(&backbone.layer3(&backbone.layer2(&low))),
        );
        check("odd.layer4_dilated", &backbone.deep(&low));
    });
    report.finish();
}

#[test]
fn a_segmentation_checkpoint_holds_the_same_backbone_without_pool() {
    let clip = Backbone::load(&Weights::read(&ulda_golden::path("tiny_clip.pt")).unwrap())
        .unwrap()
        .to_device(ulda_golden::device());
    for file in ["tiny_source.pth", "tiny_source.safetensors"] {
        let source = Backbone::load(&Weights::read(&ulda_golden::path(file)).unwrap())
            .unwrap()
            .to_device(ulda_golden::device());
        assert_eq!(source.digest(), clip.digest(), "{file}");
        assert_eq!(source.config().pool, None);
        let low = tch::Tensor::zeros([1, 32, 16, 16], (Kind::Float, ulda_golden::device()));
        assert!(
            source
                .clip_embedding(&low)
                .unwrap_err()
                .to_string()
                .contains("no attention pool")
        );
        assert_eq!(source.deep(&low), clip.deep(&low), "{file}");
    }
}

#[test]
fn a_feature_that_does_not_fit_the_pool_is_refused() {
    let clip = Backbone::load(&Weights::read(&ulda_golden::path("tiny_clip.pt")).unwrap())
        .unwrap()
        .to_device(ulda_golden::device());
    let low = tch::Tensor::zeros([1, 32, 56, 56], (Kind::Float, ulda_golden::device()));
    let refused = clip.clip_embedding(&low).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "the attention pool has 4 positions but the feature after the last stage is 7x7"
    );
    let hint = "pool the low-level feature to 16x16 first";
    assert_eq!(refused.hint().as_deref(), Some(hint));
}

#[test]
fn gradients_flow_through_to_the_feature_only() {
    let clip = Backbone::load(&Weights::read(&ulda_golden::path("tiny_clip.pt")).unwrap())
        .unwrap()
        .to_device(ulda_golden::device());
    let other = clip.clone();
    let gradient = std::thread::spawn(move || {
        let low =
            tch::Tensor::ones([2, 32, 16, 16], (Kind::Float, ulda_golden::device())).set_requires_grad(true);
        let both = other.deep(&low).sum(Kind::Float) + other.clip_embedding(&low).unwrap().sum(Kind::Float);
        both.backward();
        low.grad()
    });
    let gradient = gradient.join().unwrap();
    assert!(gradient.abs().sum(Kind::Float).double_value(&[]) > 0.0);
    assert!(
        !clip
            .deep(&tch::Tensor::ones(
                [1, 32, 16, 16],
                (Kind::Float, ulda_golden::device())
            ))
            .requires_grad()
    );
}
