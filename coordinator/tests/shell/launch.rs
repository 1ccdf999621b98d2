//! The launcher with small real processes.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::sync::mpsc;
use ulda_coordinator::launch::{
    Command, EndedProcess, LaunchError, LocalLauncher, ProcessExit, ProcessIdentity,
};

fn shell(folder: &Path, script: &str) -> Command {
    Command {
        program: "/bin/sh".into(),
        arguments: vec!["-c".into(), script.into()],
        environment: vec![("GREETING".into(), "hello".into())],
        log: folder.join("worker.log"),
    }
}

async fn next(ended: &mut mpsc::Receiver<EndedProcess>) -> EndedProcess {
    tokio::time::timeout(Duration::from_secs(10), ended.recv())
        .await
        .unwrap()
        .unwrap()
}

fn bench() -> (tempfile::TempDir, LocalLauncher, mpsc::Receiver<EndedProcess>) {
    let (sender, ended) = mpsc::channel(8);
    (tempfile::tempdir().unwrap(), LocalLauncher::new(sender), ended)
}

#[tokio::test]
async fn output_goes_to_the_log_and_the_first_cause_comes_out_of_it() {
    let (folder, mut launcher, mut ended) = bench();
    std::fs::write(
        folder.path().join("worker.log"),
        "x ERROR of an earlier attempt\n",
    )
    .unwrap();
    let script = "echo $GREETING; echo 'now ERROR read `a.png`' >&2; echo '  hint: restore it' >&2; exit 3";
    launcher.start(4, 2, &shell(folder.path(), script)).unwrap();
    let outcome = next(&mut ended).await;
    assert_eq!(
        (outcome.slot, outcome.attempt, outcome.exit),
        (4, 2, ProcessExit::Code(3))
    );
    assert_eq!(
        outcome.cause.lines,
        ["now ERROR read `a.png`", "  hint: restore it"]
    );
    let told = outcome.cause.to_string();
    assert!(
        told.starts_with("worker in slot 4 ended with exit code 3\n  | now ERROR"),
        "{told}"
    );
    assert!(told.ends_with("worker.log"), "{told}");
    assert!(launcher.forget(&outcome) && !launcher.runs(4));
}

#[tokio::test]
async fn nothing_is_left_of_a_worker_that_ignores_sigterm_and_has_children() {
    let (folder, mut launcher, mut ended) = bench();
    let child_file = folder.path().join("child");
    let script = format!(
        "trap '' TERM; sleep 600 & echo $! > {}; wait; wait",
        child_file.display()
    );
    let started = launcher.start(0, 0, &shell(folder.path(), &script)).unwrap();
    let child = super::bench::wait_for("the child", || {
        std::fs::read_to_string(&child_file).ok()?.trim().parse().ok()
    });
    let child = ProcessIdentity::of(child).unwrap();
    assert_eq!(launcher.end_all(Duration::from_millis(200)).await, [0]);
    assert_eq!(next(&mut ended).await.exit, ProcessExit::Signal(libc::SIGKILL));
    assert!(!started.identity.is_alive());
    super::bench::wait_for("the child to be gone", || (!child.is_alive()).then_some(()));
}

#[tokio::test]
async fn a_process_of_an_earlier_coordinator_is_adopted_and_ended() {
    let (folder, mut first, _) = bench();
    let started = first.start(1, 3, &shell(folder.path(), "sleep 600")).unwrap();
    let (sender, mut ended) = mpsc::channel(8);
    let mut second = LocalLauncher::new(sender);
    let uninvited = ulda_coordinator::launch::Started {
        identity: ProcessIdentity {
            started_ticks: started.identity.started_ticks + 1,
            ..started.identity
        },
        ..started
    };
    assert!(
        !second.adopt(uninvited, &folder.path().join("worker.log")),
        "another process of the same id"
    );
    assert!(second.adopt(started, &folder.path().join("worker.log")));
    second.kill(1);
    let outcome = next(&mut ended).await;
    assert_eq!(
        (outcome.slot, outcome.attempt, outcome.exit),
        (1, 3, ProcessExit::Unseen)
    );
}

#[tokio::test]
async fn a_binary_that_cannot_be_started_is_told() {
    let (folder, mut launcher, _ended) = bench();
    let mut command = shell(folder.path(), "");
    command.program = PathBuf::from("/nowhere/worker");
    let told = launcher.start(0, 0, &command).unwrap_err();
    assert!(matches!(told, LaunchError::NoBinary { .. }), "{told}");
    assert!(told.hint().unwrap().starts_with("build it with `make`"));
    command.program = folder.path().join("plain");
    std::fs::write(&command.program, "no program").unwrap();
    assert!(matches!(
        launcher.start(0, 0, &command).unwrap_err(),
        LaunchError::NotExecutable { .. }
    ));
    command.program = "/bin/sh".into();
    command.log = "/nowhere/worker.log".into();
    assert!(matches!(
        launcher.start(0, 0, &command).unwrap_err(),
        LaunchError::Log { .. }
    ));
}
