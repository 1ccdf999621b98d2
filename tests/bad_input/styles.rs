//! Where styles come from.

use std::fs;

use ulda_tests::World;

use super::breaking::{edit, fixture, grey, patch, remove};
use super::case::{BAD_INPUT, Case, hold, nothing};

const IMAGES: &[&str] = &["--set", "simulate.styles=images"];
const BANK: &[&str] = &[
    "--set",
    "simulate.styles=bank",
    "--set",
    "simulate.bank=runs/other/styles/bank.safetensors",
];

/// Gives every domain the images of the evaluation set, but the first one `list`.
fn name_images(world: &World, list: &str) {
    let night = || "[\"data/acdc/rgb_anon/night\"]".to_owned();
    world.name_images([list.to_owned(), night(), night(), night()]);
}

/// Leaves the style bank of a short run.
fn leave_bank(world: &World) {
    world.train("other", 2, &["run.end_after=simulate", "pretrain.steps=1"]);
}

/// Writes a style bank of one style, of some backbone, at the place of that of a run.
fn write_bank(world: &World, channels: usize) {
    let bank = format!(
        r#"{{\"bank\":{{\"backbone\":\"x\",\"channels\":{channels},\"domains\":[{{\"name\":\"fog\",\"prompt\":\"fog\"}}]}},\"images\":[\"a\"]}}"#
    );
    let (one, two) = (8 + 4 * channels, 8 + 8 * channels);
    let header = format!(
        r#"{{"__metadata__":{{"ulda.style_bank":"{bank}"}},"domain":{{"dtype":"I64","shape":[1],"data_offsets":[0,8]}},"mean":{{"dtype":"F32","shape":[1,{channels}],"data_offsets":[8,{one}]}},"std":{{"dtype":"F32","shape":[1,{channels}],"data_offsets":[{one},{two}]}}}}"#
    );
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header.as_bytes());
    bytes.extend(vec![0; two]);
    fs::create_dir_all(world.path("runs/other/styles")).unwrap();
    fs::write(world.path("runs/other/styles/bank.safetensors"), bytes).unwrap();
}

const STYLE: &str = "aachen_000000_000019_leftImg8bit.png.pkl";

/// Gives each domain a folder with one style, as the authors' stage 1 wrote it.
fn leave_authors_styles(world: &World) {
    for domain in ["fog", "night", "rain", "snow"] {
        let folder = world.path("saved").join(domain);
        fs::create_dir_all(&folder).unwrap();
        fs::copy(fixture("pickles").join(STYLE), folder.join(STYLE)).unwrap();
    }
}

/// Its first two numbers.
const NUMBERS: &[u8] = b"\x56\x84\x01\xbf\xdc\x17\xe0\x3f";

const AUTHORS: &[&str] = &["--set", "simulate.styles=bank", "--set", "simulate.bank=saved"];

const AUTHORS_CASES: &[Case] = &[
    Case {
        name: "the authors' styles, without a domain",
        breaks: |world| {
            leave_authors_styles(world);
            remove(&world.path("saved/rain"));
        },
        command: AUTHORS,
        code: BAD_INPUT,
        says: &[
            "`simulate.bank`",
            "domain `rain` has no styles: `",
            "saved/rain` does not exist",
            "name the folder that holds one folder of .pkl files per domain",
        ],
    },
    Case {
        name: "the authors' styles under other names",
        breaks: leave_authors_styles,
        command: &[
            "check",
            "--set",
            "simulate.styles=bank",
            "--set",
            "simulate.bank=saved/six_{domain}",
        ],
        code: BAD_INPUT,
        says: &["domain `fog` has no styles: `", "saved/six_fog` does not exist"],
    },
    Case {
        name: "an empty folder of the authors' styles",
        breaks: |world| {
            leave_authors_styles(world);
            remove(&world.path("saved/snow").join(STYLE));
        },
        command: AUTHORS,
        code: BAD_INPUT,
        says: &["domain `snow` has no styles: `", "saved/snow` holds no .pkl file"],
    },
    Case {
        name: "a style of another number of channels",
        breaks: |world| {
            leave_authors_styles(world);
            patch(
                &world.path("saved/night").join(STYLE),
                b"K\x20K\x01K\x01\x87",
                b"K\x1fK\x01K\x01\x87",
            );
        },
        command: AUTHORS,
        code: BAD_INPUT,
        says: &[
            "leftImg8bit.png.pkl` is not readable: 31 means and 31 deviations for 32 channels",
            "of the same CLIP model",
        ],
    },
    Case {
        name: "a style with a number that is not finite",
        breaks: |world| {
            leave_authors_styles(world);
            patch(
                &world.path("saved/night").join(STYLE),
                NUMBERS,
                b"\x00\x00\xc0\x7f\xdc\x17\xe0\x3f",
            );
        },
        command: AUTHORS,
        code: BAD_INPUT,
        says: &["leftImg8bit.png.pkl` is not readable: a value is not finite"],
    },
    Case {
        name: "a style that is no pickle",
        breaks: |world| {
            leave_authors_styles(world);
            fs::write(world.path("saved/fog/b.pkl"), "no style").unwrap();
        },
        command: AUTHORS,
        code: BAD_INPUT,
        says: &["saved/fog/b.pkl` is not readable: operation 0x6e"],
    },
    Case {
        name: "a style that would run a program",
        breaks: |world| {
            leave_authors_styles(world);
            fs::write(
                world.path("saved/fog/b.pkl"),
                "cos\nsystem\n(X\x0c\x00\x00\x00touch hackedtR.",
            )
            .unwrap();
        },
        command: AUTHORS,
        code: BAD_INPUT,
        says: &["saved/fog/b.pkl` is not readable: there is no `mu_f1` in it"],
    },
    Case {
        name: "fewer of the authors' styles than a step draws",
        breaks: leave_authors_styles,
        command: AUTHORS,
        code: BAD_INPUT,
        says: &["`simulate.bank`", "gives 4 styles, and adapt.batch asks for 6"],
    },
    Case {
        name: "the authors' styles by a URL that names each domain",
        breaks: nothing,
        command: &[
            "--set",
            "simulate.styles=bank",
            "--set",
            "simulate.bank=s3://bucket/six_{domain}",
        ],
        code: BAD_INPUT,
        says: &[
            "`simulate.bank`: is the URL `s3://bucket/six_{domain}`",
            "name the folder that holds one folder per domain",
        ],
    },
];

const CASES: &[Case] = &[
    Case {
        name: "styles from nowhere",
        breaks: nothing,
        command: &["--set", "simulate.styles=photo"],
        code: BAD_INPUT,
        says: &[
            "`simulate.styles` is the text \"photo\"",
            "give \"learned\", \"content\", \"images\" or \"bank\"",
        ],
    },
    Case {
        name: "images that nobody asked for",
        breaks: |world| name_images(world, "[\"data\"]"),
        command: &["check", "--set", "simulate.styles=content"],
        code: BAD_INPUT,
        says: &[
            "domain[0].images",
            "is set, and simulate.styles is content",
            "set simulate.styles = \"images\"",
        ],
    },
    Case {
        name: "a domain without images",
        breaks: |world| name_images(world, "[]"),
        command: IMAGES,
        code: BAD_INPUT,
        says: &[
            "`domain[0].images`: is empty",
            "name PNG or JPEG files, or folders",
        ],
    },
    Case {
        name: "images that are no list of texts",
        breaks: |world| name_images(world, "\"data\""),
        command: IMAGES,
        code: BAD_INPUT,
        says: &["`domain[0].images` is the text \"data\"", "a list of texts"],
    },
    Case {
        name: "images that do not exist",
        breaks: |world| name_images(world, "[\"data/acdc/rgb_anon/night\", \"dusk\"]"),
        command: IMAGES,
        code: BAD_INPUT,
        says: &[
            "`domain[0].images[1]`",
            "dusk` does not exist",
            "give PNG or JPEG images",
        ],
    },
    Case {
        name: "a folder of images without one",
        breaks: |world| {
            fs::create_dir(world.path("empty")).unwrap();
            name_images(world, "[\"empty\"]");
        },
        command: IMAGES,
        code: BAD_INPUT,
        says: &[
            "`domain[0].images[0]`",
            "no PNG or JPEG image below `",
            "give PNG or JPEG images",
        ],
    },
    Case {
        name: "an image that is none",
        breaks: |world| {
            fs::write(world.path("photo.png"), "a photo").unwrap();
            name_images(world, "[\"photo.png\"]");
        },
        command: IMAGES,
        code: BAD_INPUT,
        says: &[
            "`domain[0].images[0]`",
            "photo.png` is neither a png nor a jpeg file",
            "convert it",
        ],
    },
    Case {
        name: "an image without room for a style",
        breaks: |world| {
            grey(&world.path("photo.png"), 40, 31, 7);
            name_images(world, "[\"photo.png\"]");
        },
        command: IMAGES,
        code: BAD_INPUT,
        says: &["photo.png` is 40x31", "at least 32 pixels", "give a larger one"],
    },
    Case {
        name: "fewer images than styles per step",
        breaks: |world| name_images(world, "[\"data/acdc/rgb_anon/night\"]"),
        command: &["--set", "simulate.styles=images", "--set", "adapt.batch=40"],
        code: BAD_INPUT,
        says: &[
            "`adapt.batch`",
            "the images of the domains give",
            "name more images",
        ],
    },
    Case {
        name: "no bank",
        breaks: nothing,
        command: &["--set", "simulate.styles=bank"],
        code: BAD_INPUT,
        says: &["`simulate.bank`: is not set", "of another run"],
    },
    Case {
        name: "a bank that nobody asked for",
        breaks: nothing,
        command: &["--set", "simulate.bank=bank.safetensors"],
        code: BAD_INPUT,
        says: &[
            "`simulate.bank`: is set, and simulate.styles is learned",
            "set simulate.styles = \"bank\"",
        ],
    },
    Case {
        name: "a bank that does not exist",
        breaks: nothing,
        command: BANK,
        code: BAD_INPUT,
        says: &[
            "`simulate.bank`",
            "bank.safetensors` is not readable",
            "of another run",
        ],
    },
    Case {
        name: "a bank that is a model",
        breaks: |world| {
            fs::create_dir_all(world.path("runs/other/styles")).unwrap();
            fs::copy(
                world.path("clip.safetensors"),
                world.path("runs/other/styles/bank.safetensors"),
            )
            .unwrap();
        },
        command: BANK,
        code: BAD_INPUT,
        says: &["`simulate.bank`", "has no `ulda.style_bank` header"],
    },
    Case {
        name: "a bank of another number of channels",
        breaks: |world| write_bank(world, 4),
        command: BANK,
        code: BAD_INPUT,
        says: &["`simulate.bank`", "another channel count: it has 4, this run has"],
    },
    Case {
        name: "a bank of another checkpoint",
        breaks: |world| write_bank(world, 32),
        command: BANK,
        code: BAD_INPUT,
        says: &["`simulate.bank`", "another backbone: it has `x`"],
    },
    Case {
        name: "a bank without one of the domains",
        breaks: |world| {
            leave_bank(world);
            edit(world, "name = \"snow\"", "name = \"dust\"");
        },
        command: BANK,
        code: BAD_INPUT,
        says: &[
            "`simulate.bank`",
            "has no styles of domain `dust`: it has [fog",
            "name the domain as the bank does",
        ],
    },
    Case {
        name: "a bank with fewer styles than a step draws",
        breaks: leave_bank,
        command: &[
            "--set",
            "simulate.styles=bank",
            "--set",
            "simulate.bank=runs/other/styles/bank.safetensors",
            "--set",
            "adapt.batch=40",
        ],
        code: BAD_INPUT,
        says: &[
            "`simulate.bank`",
            "gives 32 styles, and adapt.batch asks for 40",
            "lower adapt.batch",
        ],
    },
];

#[test]
fn wrong_styles() {
    hold(CASES, World::new);
}

#[test]
fn wrong_styles_of_the_authors() {
    hold(AUTHORS_CASES, World::new);
}
