//! Times the networks at RN50's size with random weights: `time_networks [images] [crop] [threads]`.
//! Prints one line per part: median milliseconds of five runs after one to warm up.

use std::time::Instant;

use tch::{Kind, Tensor};
use ulda_model::miniature::{MiniatureSpec, write_clip};
use ulda_model::{Backbone, Head, HeadConfig, Seeded, TextEncoder, TrainMode, Weights, text, upsample};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let mut number = |default: i64| arguments.next().map_or(Ok(default), |text| text.parse::<i64>());
    let (images, crop, threads) = (number(2)?, number(768)?, number(2)?);
    ulda_torch::runtime::set_threads(u16::try_from(threads)?)?;
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("rn50-sized.safetensors");
    let spec = MiniatureSpec {
        width: 64,
        blocks: [3, 4, 6, 3],
        embed: 1024,
        text_width: 512,
        text_layers: 12,
        ..MiniatureSpec::default()
    };
    write_clip(&path, &spec)?;
    let start = Instant::now();
    let weights = Weights::read(&path)?;
    println!(
        "{:<40} {:>8.1} ms",
        "read and digest the checkpoint",
        start.elapsed().as_secs_f64() * 1e3
    );
    let backbone = Backbone::load(&weights)?;
    let head = Head::new(HeadConfig::published(2048, 256, 19), 1);
    let x = Seeded::new(2).normal(&[images, 3, crop, crop], 1.0);
    let low = tch::no_grad(|| backbone.stem_and_layer1(&x));
    let styled = || low.detach().copy().set_requires_grad(true);
    let deep = tch::no_grad(|| backbone.deep(&low));

    time("low-level feature", || {
        tch::no_grad(|| drop(backbone.stem_and_layer1(&x)))
    });
    time("stages 2-4, dilated", || {
        tch::no_grad(|| drop(backbone.deep(&low)))
    });
    time("stages 2-4, dilated, with backward", || {
        backbone.deep(&styled()).sum(Kind::Float).backward();
    });
    time("CLIP branch from 56x56, with backward", || {
        let pooled = styled().adaptive_avg_pool2d([56, 56]);
        let embedding = backbone
            .clip_embedding(&pooled)
            .expect("56x56 fits the pool of 224 pixels");
        embedding.sum(Kind::Float).backward();
    });
    time("head and upsampling, evaluation", || {
        tch::no_grad(|| drop(upsample(&head.forward_eval(&deep, &low), [crop, crop])));
    });
    head.trainable(true);
    time("head, training, with backward", || {
        let (logits, _) = head
            .forward_train(&deep, &low, &TrainMode::solo())
            .expect("two images or more");
        upsample(&logits, [crop, crop])
            .square()
            .mean(Kind::Float)
            .backward();
    });
    let encoder = TextEncoder::load(&weights, tch::Device::Cpu)?;
    time("one prompt in 44 templates", || {
        let embedded: Tensor = text::embed_prompts(&encoder, &text::ULDA_TEMPLATES, &["driving under rain"])
            .expect("the prompt is short");
        drop(embedded);
    });
    Ok(())
}

fn time(part: &str, mut run: impl FnMut()) {
    run();
    let mut times: Vec<f64> = (0..5)
        .map(|_| {
            let start = Instant::now();
            run();
            start.elapsed().as_secs_f64() * 1e3
        })
        .collect();
    times.sort_by(f64::total_cmp);
    println!("{part:<40} {:>8.1} ms", times[2]);
}
