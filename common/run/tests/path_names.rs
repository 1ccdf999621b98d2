//! A name is refused, or is that of a direct child of whatever folder it is joined to.

use std::ffi::OsStr;
use std::path::Path;

use proptest::prelude::*;
use ulda_run::spec::{Host, PathName, PathNameError, RunConfig, RunSpec};

fn any_text() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<String>(),
        // What paths are made of.
        "[a-zA-Z0-9_./\\\\ \u{0}-]{0,8}",
        "[a-zA-Z0-9._-]{1,300}",
    ]
}

proptest! {
    #[test]
    fn a_name_stays_a_direct_child(text in any_text()) {
        let Ok(name) = text.parse::<PathName>() else { return Ok(()) };
        for folder in ["/runs", "runs", "."] {
            let path = Path::new(folder).join(&name);
            prop_assert_eq!(path.parent(), Some(Path::new(folder)));
            prop_assert_eq!(path.file_name(), Some(OsStr::new(&text)));
            prop_assert_eq!(path.components().count(), Path::new(folder).components().count() + 1);
        }
        // With room for what is put before or after it.
        prop_assert!(text.len() <= 200);
        prop_assert!(!text.starts_with(['.', '-']));
    }

    #[test]
    fn plain_names_are_accepted(text in "[a-zA-Z0-9][a-zA-Z0-9._-]{0,99}") {
        let name: PathName = text.parse().unwrap();
        prop_assert_eq!(name.as_str(), text);
    }
}

#[test]
fn each_refusal_says_why() {
    let why = |text: &str| text.parse::<PathName>().unwrap_err();
    assert_eq!(why(""), PathNameError::Empty);
    assert_eq!(why(".."), PathNameError::Start { found: '.' });
    assert_eq!(why("../x"), PathNameError::Character { found: '/' });
    assert_eq!(why("/etc"), PathNameError::Character { found: '/' });
    assert_eq!(why(&"a".repeat(300)), PathNameError::Long { have: 300 });
    assert_eq!(why("a\0b").to_string(), "holds `\\0`");
    assert!(PathName::ALLOWED.contains(&format!("at most {} ", PathName::MOST_BYTES)));
}

#[test]
fn no_run_toml_holds_another_name() {
    for bad in [
        "",
        "..",
        ".",
        "../x",
        "/etc/x",
        "a\\u0000b",
        "a/b",
        "a\\\\b",
        "-rf",
    ] {
        for text in [
            format!("run.name = \"{bad}\""),
            format!("[[domain]]\nname = \"{bad}\"\nprompt = \"p\""),
            format!("[[evaluate.set]]\nname = \"{bad}\"\nlayout = \"cityscapes\"\nroot = \"r\""),
        ] {
            let refused = toml::from_str::<RunConfig>(&text).expect_err(&text).to_string();
            assert!(refused.contains(PathName::ALLOWED), "{text}: {refused}");
        }
    }
}

#[test]
fn names_that_differ_in_case_alone_occur_twice() {
    let text = "
        [[domain]]\nname = \"night\"\nprompt = \"p\"
        [[domain]]\nname = \"Night\"\nprompt = \"p\"
        [[evaluate.set]]\nname = \"fog\"\nlayout = \"cityscapes\"\nroot = \"r\"
        [[evaluate.set]]\nname = \"FOG\"\nlayout = \"cityscapes\"\nroot = \"r\"";
    let config: RunConfig = toml::from_str(text).unwrap();
    let problems = RunSpec::resolve(config, Host { workers: 1, cores: 1 }).unwrap_err();
    for told in ["`domain[1].name`: `Night`", "`evaluate.set[1].name`: `FOG`"] {
        assert!(problems.to_string().contains(told), "{problems}");
    }
}
