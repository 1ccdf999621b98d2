//! What a run is given: its configuration, weights, styles, images, labels, lists and credentials.

use std::fs;

use ulda_tests::{World, credentials, png_files};

use super::odd::Odd;
use super::place::{BAD_INPUT, DONE, FAILED, Place, UNAVAILABLE};

const IMAGE: &str = "data/cityscapes/leftImg8bit/train/aachen/*";
const LABEL: &str = "data/cityscapes/gtFine/train/aachen/*";
const STYLE: &str = "saved/night/*";

/// A look at the headers does not read so far.
const PASSES_HEADERS: &[(Odd, i32)] = &[(Odd::Grown, DONE)];
/// An image that is not there is none of the data set.
const IMAGE_HEADERS: &[(Odd, i32)] = &[(Odd::Grown, DONE), (Odd::Missing, DONE)];

pub const PLACES: &[Place] = &[
    Place::new("run.toml", &["check", "--config", "run.toml"], BAD_INPUT),
    Place::new("run.toml", &["--config", "run.toml"], BAD_INPUT),
    Place::new(
        "run.toml",
        &[
            "submit",
            "--dry-run=client",
            "--workers",
            "1",
            "--image",
            "a/b:1",
            "--config",
            "run.toml",
        ],
        BAD_INPUT,
    ),
    Place::new(
        "spec.toml",
        &["worker", "check", "--spec", "spec.toml"],
        BAD_INPUT,
    ),
    Place::new("clip.safetensors", &["check"], BAD_INPUT),
    Place::new("clip.safetensors", &[], BAD_INPUT),
    Place::new(
        "source.pth",
        &["check", "--set", "pretrain.checkpoint=source.pth"],
        BAD_INPUT,
    ),
    Place::new(
        "adapted.pth",
        &[
            "check",
            "--stages",
            "evaluate",
            "--set",
            "adapt.checkpoint=adapted.pth",
        ],
        BAD_INPUT,
    ),
    Place::new(
        "bank.safetensors",
        &[
            "check",
            "--set",
            "simulate.styles=bank",
            "--set",
            "simulate.bank=bank.safetensors",
        ],
        BAD_INPUT,
    ),
    Place::new(
        STYLE,
        &[
            "check",
            "--set",
            "simulate.styles=bank",
            "--set",
            "simulate.bank=saved",
        ],
        BAD_INPUT,
    ),
    Place::new(IMAGE, &["check"], BAD_INPUT).but(IMAGE_HEADERS),
    Place::new(IMAGE, &["check", "--pixels"], BAD_INPUT).but(&[(Odd::Missing, DONE)]),
    Place::new(LABEL, &["check"], BAD_INPUT).but(PASSES_HEADERS),
    Place::new(LABEL, &["check", "--pixels"], BAD_INPUT),
    Place::new(
        "data/acdc/gt/night/val/GOPR0401/*",
        &["check", "--pixels"],
        BAD_INPUT,
    ),
    Place::new(
        "styles/*",
        &[
            "check",
            "--set",
            "simulate.styles=images",
            "--set",
            "domain.0.images=[\"styles\"]",
            "--set",
            "domain.1.images=[\"styles\"]",
            "--set",
            "domain.2.images=[\"styles\"]",
            "--set",
            "domain.3.images=[\"styles\"]",
            "--set",
            "adapt.batch=4",
        ],
        BAD_INPUT,
    )
    .but(PASSES_HEADERS),
    Place::new(
        "data/cityscapes/train.txt",
        &[
            "check",
            "--set",
            "source.layout=files",
            "--set",
            "source.files.images={split}.txt",
            "--set",
            "source.files.labels={split}_labels.txt",
        ],
        BAD_INPUT,
    ),
    Place::new("keys", &["--credentials", "keys"], BAD_INPUT),
    Place::new("keys/token", &["--credentials", "keys"], BAD_INPUT),
    Place::new("keys/ca.pem", &["--credentials", "keys"], BAD_INPUT),
    Place::new("keys/coordinator.pem", &["--credentials", "keys"], BAD_INPUT),
    Place::new("keys/coordinator.key", &["--credentials", "keys"], BAD_INPUT),
    Place::new("keys/token", JOIN, BAD_INPUT),
    Place::new("keys/ca.pem", JOIN, BAD_INPUT),
    Place::new("keys/worker.pem", JOIN, BAD_INPUT),
    Place::new("keys/worker.key", JOIN, BAD_INPUT),
    Place::new("bundle.pem", IN_STORAGE, BAD_INPUT).with(&[("AWS_CA_BUNDLE", "bundle.pem")]),
    Place::new("kubeconfig", &["cluster", "list"], BAD_INPUT).with(&[("KUBECONFIG", "kubeconfig")]),
    Place::new("authority.pem", &["cluster", "list"], BAD_INPUT).with(&[("KUBECONFIG", "kubeconfig")]),
    Place::new("prog", &["--worker-binary", "prog"], BAD_INPUT),
    Place::new("state", &["--state", "state"], FAILED).but(&[(Odd::Folder, DONE), (Odd::Missing, DONE)]),
    Place::new("out.toml", &["init", "out.toml"], BAD_INPUT).but(&[(Odd::Missing, DONE)]),
    Place::new(
        "data.tar",
        &["--set", "source.root=file://{here}/data.tar"],
        BAD_INPUT,
    )
    .but(&[
        (Odd::Pipe, FAILED),
        (Odd::Endless, FAILED),
        (Odd::Folder, FAILED),
        (Odd::Loop, UNAVAILABLE),
    ]),
];

const JOIN: &[&str] = &[
    "worker",
    "join",
    "--run",
    "small",
    "--slot",
    "0",
    "--coordinator",
    "https://127.0.0.1:1",
    "--credentials",
    "keys",
];

const IN_STORAGE: &[&str] = &["check", "--set", "storage.url=s3://bucket/runs"];

/// A world in which each of the paths leads to what is meant.
pub fn world() -> World {
    let world = World::new();
    credentials::make(&world.path("keys"), &[]);
    fs::copy(world.path("run.toml"), world.path("spec.toml")).unwrap();
    fs::write(world.path("data.tar"), "no archive").unwrap();
    let fixture = |name: &str| {
        std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("fixtures/golden")
            .join(name)
    };
    for name in ["source.pth", "adapted.pth"] {
        fs::copy(fixture("tiny_source.pth"), world.path(name)).unwrap();
    }
    for domain in ["fog", "night", "rain", "snow"] {
        let folder = world.path("saved").join(domain);
        fs::create_dir_all(&folder).unwrap();
        let style = "aachen_000000_000019_leftImg8bit.png.pkl";
        fs::copy(fixture("pickles").join(style), folder.join(style)).unwrap();
    }
    fs::create_dir_all(world.path("styles")).unwrap();
    let images = png_files(&world.path("data/cityscapes/leftImg8bit"));
    fs::copy(&images[0], world.path("styles/a.png")).unwrap();
    let labels = png_files(&world.path("data/cityscapes/gtFine"));
    let root = world.path("data/cityscapes");
    for split in ["train", "val"] {
        let list = |files: &[std::path::PathBuf]| -> String {
            let of_split = files
                .iter()
                .filter(|file| file.to_string_lossy().contains(&format!("/{split}/")));
            let below = of_split.map(|file| file.strip_prefix(&root).unwrap());
            below.map(|file| format!("{}\n", file.display())).collect()
        };
        fs::write(world.path(&format!("data/cityscapes/{split}.txt")), list(&images)).unwrap();
        fs::write(
            world.path(&format!("data/cityscapes/{split}_labels.txt")),
            list(&labels),
        )
        .unwrap();
    }
    let kubeconfig = format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: c\ncontexts: [{{name: c, context: {{cluster: c, user: u}}}}]\n\
         clusters: [{{name: c, cluster: {{server: 'https://127.0.0.1:1', certificate-authority: '{}'}}}}]\n\
         users: [{{name: u, user: {{}}}}]\n",
        world.path("authority.pem").display()
    );
    fs::write(world.path("kubeconfig"), kubeconfig).unwrap();
    fs::copy(world.path("keys/ca.pem"), world.path("authority.pem")).unwrap();
    fs::copy(world.path("keys/ca.pem"), world.path("bundle.pem")).unwrap();
    world
}
