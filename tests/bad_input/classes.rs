//! Classes of one's own.

use ulda_tests::World;

use super::breaking::{edit, fixture};
use super::case::{BAD_INPUT, Case, hold, nothing};

/// Writes the names of classes into the run.toml.
fn name(world: &World, names: &[&str]) {
    let section = format!("[classes]\nnames = {names:?}\n\n[pretrain]");
    edit(world, "[pretrain]", &section);
}

/// Gives the run own classes, with labels that may have them.
fn own(world: &World, names: &[&str]) {
    let (root, set) = ("root = \"data/cityscapes\"", "[[evaluate.set]]");
    let files = "layout = \"files\"\n[source.files]\nimages = \"leftImg8bit/{split}/*/*_leftImg8bit.png\"\n\
                 labels = \"gtFine/{split}/*/*_gtFine_labelIds.png\"\nlabel_encoding = \"train-ids\"";
    edit(world, root, &format!("{root}\n{files}"));
    world.leave_out(set);
    name(world, names);
}

const CLASSES: &[Case] = &[
    Case {
        name: "names that are no list",
        breaks: nothing,
        command: &["--set", "classes.names=\"sky\""],
        code: BAD_INPUT,
        says: &["`classes.names` is the text \"sky\"", "give a list of texts"],
    },
    Case {
        name: "no classes",
        breaks: nothing,
        command: &["--set", "classes.names=[]"],
        code: BAD_INPUT,
        says: &["`classes.names`: has 0 names", "give 2 to 255"],
    },
    Case {
        name: "more classes than train ids",
        breaks: |world| {
            let names: Vec<String> = (0..300).map(|id| format!("class {id}")).collect();
            name(world, &names.iter().map(String::as_str).collect::<Vec<_>>());
        },
        command: &[],
        code: BAD_INPUT,
        says: &["`classes.names`: has 300 names", "give 2 to 255"],
    },
    Case {
        name: "one name twice",
        breaks: nothing,
        command: &["--set", "classes.names=[\"sky\", \"water\", \"Sky\"]"],
        code: BAD_INPUT,
        says: &["`classes.names`: has `Sky` twice", "give each class its own name"],
    },
    Case {
        name: "a name with control characters",
        breaks: nothing,
        command: &["--set", "classes.names=[\"sky\", \"wa\\u001bter\"]"],
        code: BAD_INPUT,
        says: &[
            "`classes.names`: has the name \"wa\\u{1b}ter\" at 1",
            "of one line",
        ],
    },
    Case {
        name: "a name of 70,000 letters",
        breaks: |world| name(world, &["sky", &"water".repeat(14_000)]),
        command: &[],
        code: BAD_INPUT,
        says: &[
            "`classes.names`: has a name of 70000 letters at 1",
            "1 to 64 letters",
        ],
    },
    Case {
        name: "one colour twice, for the names of Cityscapes",
        breaks: |world| {
            let mut colours: Vec<String> = (0..18).map(|id| format!("#0000{id:02x}")).collect();
            colours.push("#000003".to_owned());
            edit(
                world,
                "[pretrain]",
                &format!("[classes]\ncolours = {colours:?}\n\n[pretrain]"),
            );
        },
        command: &[],
        code: BAD_INPUT,
        says: &["`classes.colours`: has `#000003` twice", "its own colour"],
    },
    Case {
        name: "a word for a colour, and too few of them",
        breaks: nothing,
        command: &["--set", "classes.colours=[\"blue\"]"],
        code: BAD_INPUT,
        says: &[
            "`classes.colours`: has \"blue\"",
            "write colours such as \"#804080\"",
        ],
    },
    Case {
        name: "fewer colours than classes",
        breaks: nothing,
        command: &["--set", "classes.colours=[\"#0000ff\"]"],
        code: BAD_INPUT,
        says: &[
            "`classes.colours`: has 1 colours for 19 classes",
            "one for each class",
        ],
    },
    Case {
        name: "own classes with labels of Cityscapes",
        breaks: nothing,
        command: &["--set", "classes.names=[\"sky\", \"water\"]"],
        code: BAD_INPUT,
        says: &[
            "`source.layout`: has labels of Cityscapes' classes",
            "`evaluate.set[0].layout`: has labels of Cityscapes' classes",
            "files.label_values",
        ],
    },
    Case {
        name: "label value beyond the own classes",
        breaks: nothing,
        command: &[
            "--set",
            "classes.names=[\"sky\", \"water\"]",
            "--set",
            "source.layout=files",
            "--set",
            "source.files.label_values={ 7 = 2 }",
        ],
        code: BAD_INPUT,
        says: &[
            "`source.files.label_values`: gives `7` the train id 2",
            "train ids are 0 to 1, and 255",
        ],
    },
    Case {
        name: "a class name that is too long for CLIP with the prompt",
        breaks: |world| own(world, &["sky", &"\u{20000}".repeat(64)]),
        command: &["check"],
        code: BAD_INPUT,
        says: &["domain[0].prompt", "tokens", "hint: shorten it"],
    },
    Case {
        name: "source checkpoint of other classes",
        breaks: |world| {
            own(world, &["sky", "water"]);
            std::fs::copy(fixture("tiny_source.pth"), world.path("source.pth")).unwrap();
        },
        command: &["check", "--set", "pretrain.checkpoint=source.pth"],
        code: BAD_INPUT,
        says: &[
            "pretrain.checkpoint",
            "tells 19 classes apart, this run 2",
            "use a checkpoint of this run's classes",
        ],
    },
];

#[test]
fn wrong_classes() {
    hold(CLASSES, World::new);
}
