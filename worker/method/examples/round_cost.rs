//! Time of one inner iteration of stage 1 per domain, by loss term, on networks of the published size with random
//! weights. `cargo run --release -p ulda-method --example round_cost -- [crop] [threads]`

use std::error::Error;
use std::time::Instant;

use tch::{Device, Kind, Tensor};
use ulda_method::losses::region::unit_rows;
use ulda_method::projector::{PUBLISHED_HIDDEN, Projector};
use ulda_method::simulate::{
    Alone, DomainProjector, Hooks, Local, LossWeights, Networks, Round, RoundBatch, Segmenter,
    SimulateSettings, Start,
};
use ulda_model::miniature::{MiniatureSpec, write_clip};
use ulda_model::{Backbone, Head, HeadConfig, TextBank, Weights};

const EMBEDDING: i64 = 1024;
const IMAGES: i64 = 2;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let crop: i64 = arguments.next().map_or(Ok(384), |text| text.parse())?;
    let threads: u16 = arguments.next().map_or(Ok(1), |text| text.parse())?;
    ulda_torch::runtime::set_threads(threads)?;
    tch::manual_seed(1);
    let options = (Kind::Float, Device::Cpu);

    let folder = tempfile::tempdir()?;
    let file = folder.path().join("round_cost.safetensors");
    let spec = MiniatureSpec {
        width: 64,
        blocks: [3, 4, 6, 3],
        embed: EMBEDDING,
        ..MiniatureSpec::default()
    };
    write_clip(&file, &spec)?;
    let weights = Weights::read(&file)?;
    let clip = Backbone::load(&weights)?;
    let head = Head::new(HeadConfig::published(2048, 256, 19), 1);
    let networks = Networks {
        clip: &clip,
        segmentation: Some(Segmenter {
            backbone: &clip,
            head: &head,
        }),
    };

    let images = Tensor::f_randn([IMAGES, 3, crop, crop], options)?;
    let labels = Tensor::f_randint(19, [IMAGES, crop, crop], (Kind::Int64, Device::Cpu))?;
    let region = unit_rows(&Tensor::f_randn([19, EMBEDDING], options)?)?.f_unsqueeze(0)?;
    let texts = TextBank {
        scene: unit_rows(&Tensor::f_randn([1, EMBEDDING], options)?)?,
        region,
    };

    let off = LossWeights {
        scene: 0.0,
        ..LossWeights::PODA
    };
    for (name, weights) in [
        ("scene", LossWeights::PODA),
        ("seg", LossWeights { seg: 1.0, ..off }),
        ("pixel", LossWeights { pixel: 0.5, ..off }),
        (
            "region, intra, cross",
            LossWeights {
                region: 0.5,
                intra: 10.0,
                cross: 10.0,
                ..off
            },
        ),
        ("all", LossWeights::PARAM2),
    ] {
        let batch = RoundBatch::prepare(&clip, &images, &labels, &texts, &weights)?;
        let projector = Projector::new(256, PUBLISHED_HIDDEN, EMBEDDING, 2, Device::Cpu)?;
        let mut owned = [DomainProjector { domain: 0, projector }];
        let settings = SimulateSettings {
            weights,
            ..SimulateSettings::default()
        };
        let mut round = Round::begin(settings, networks, &batch, &mut owned, Start::Content)?;
        let hooks = Hooks {
            exchange: &Local,
            reduce: &Alone,
            dropout_seed: &|iteration, _| iteration as u64,
        };
        round.iterate(&hooks)?;
        let start = Instant::now();
        let report = round.iterate(&hooks)?;
        println!(
            "crop {crop}, {IMAGES} images, {threads} thread(s) | {name} | {:.2} s (forward {:.2}, backward {:.2}, optimise {:.3})",
            start.elapsed().as_secs_f64(),
            report.phases.forward.as_secs_f64(),
            report.phases.backward.as_secs_f64(),
            report.phases.optimise.as_secs_f64(),
        );
    }
    Ok(())
}
