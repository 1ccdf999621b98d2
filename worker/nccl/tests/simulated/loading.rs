//! Which libraries are taken.

use std::process::Command;

use ulda_nccl::{Library, NcclError, RankSeat};

use crate::world::{Copied, Simulator, World, simulated_path};

#[test]
fn an_older_library_is_refused() {
    let copied = Copied::new("older");
    let path = copied.path.as_path();
    let simulator = Simulator::open(path);
    for (code, found) in [(22703, "2.27.3"), (30100, "3.1.0")] {
        simulator.set_version(code);
        let error = Library::open(path).unwrap_err();
        assert!(matches!(error, NcclError::Version { .. }));
        let text = format!("NCCL {found} at `{}` is not supported", path.display());
        assert_eq!(error.to_string(), text);
        assert!(error.hint().unwrap().starts_with("install NCCL 2.28"));
    }
    simulator.set_version(22807);
    assert_eq!(Library::open(path).unwrap().version().to_string(), "2.28.7");
}

#[test]
fn a_file_that_is_not_there_is_a_sentence() {
    let error = Library::open("/nowhere/libnccl.so.2").unwrap_err();
    let text = error.to_string();
    assert!(
        text.starts_with("load NCCL from `/nowhere/libnccl.so.2`: "),
        "{text}"
    );
    assert!(text.contains("No such file"), "{text}");
}

#[test]
fn the_environment_names_the_library_and_cannot_make_it_block() {
    const ASKED: &str = "ULDA_NCCL_TEST_EXPECTS";
    match std::env::var(ASKED).as_deref() {
        // In a process of its own, see below.
        Ok("found") => {
            let library = Library::find().unwrap();
            assert_eq!(
                (library.path(), library.version().to_string()),
                (simulated_path().as_path(), "2.28.9".into())
            );
        }
        Ok("refused") => assert!(matches!(
            Library::find(),
            Err(NcclError::BlockingOverride { value }) if value == "1"
        )),
        _ => {
            let name = "loading::the_environment_names_the_library_and_cannot_make_it_block";
            for (expects, blocking) in [("found", None), ("refused", Some("1"))] {
                let mut command = Command::new(std::env::current_exe().unwrap());
                command
                    .args(["--exact", name])
                    .env(ASKED, expects)
                    .env("ULDA_NCCL", simulated_path())
                    .env_remove("NCCL_COMM_BLOCKING")
                    .envs(blocking.map(|value| ("NCCL_COMM_BLOCKING", value)));
                let output = command.output().unwrap();
                let said = String::from_utf8_lossy(&output.stdout);
                assert!(
                    output.status.success() && said.contains("1 passed"),
                    "{expects}: {said}"
                );
            }
        }
    }
}

#[test]
fn a_rank_beyond_the_last_is_refused() {
    let world = World::new(2);
    let error = world.form(2).err().unwrap();
    assert!(matches!(
        error,
        NcclError::NoSuchSeat {
            seat: RankSeat { rank: 2, ranks: 2 }
        }
    ));
    assert_eq!(
        error.to_string(),
        "there is no rank 2 of 2, as ranks count from 0"
    );
}
