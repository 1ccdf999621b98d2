use tch::Tensor;
use ulda_run::clip::ClipTraining;

use super::super::checkpoints::{Checkpoints, Found};
use super::super::manifest::STATE_FILE;
use super::*;

fn clip() -> ClipOrigin {
    ClipOrigin {
        digest: "c".into(),
        training: ClipTraining::Untrained,
    }
}

fn store(folder: &Path) -> CheckpointStore {
    CheckpointStore::new(folder.join("checkpoints"), "a".into(), clip(), 2)
}

fn newest(store: &CheckpointStore) -> Result<Option<Found>, CheckpointError> {
    Ok(Checkpoints::local(store.clone()).newest()?.0)
}

fn state(step: u64) -> RunState {
    let mut state = RunState::new(Cursor {
        stage: Stage::Adapt,
        step,
    });
    state
        .tensors
        .insert("w".into(), Tensor::from_slice(&[step as f32, 1.0]));
    state
}

fn write(store: &CheckpointStore, step: u64) -> PathBuf {
    let state = state(step);
    store.write(&state, &state.digest()).unwrap().path
}

#[test]
fn the_newest_is_read_and_the_oldest_pruned() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path());
    assert!(newest(&store).unwrap().is_none());
    let first = write(&store, 1);
    write(&store, 2);
    write(&store, 10);
    assert!(!first.exists());
    assert_eq!(newest(&store).unwrap().unwrap().state.cursor.step, 10);
}

#[test]
fn what_killed_workers_left_goes_once_it_is_older_than_all_that_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path());
    let checkpoints = folder.path().join("checkpoints");
    let left = [
        ".pretrain-00000090.7-0a.writing",
        ".adapt-00000002.7-0a.writing",
        ".adapt-00000002.7-0a.old",
    ];
    let maybe_alive = [
        ".adapt-00000003.7-0a.writing",
        ".adapt-00000004.7-0a.old",
        ".final.7-0a.writing",
    ];
    for name in left.iter().chain(&maybe_alive) {
        fs::create_dir_all(checkpoints.join(name)).unwrap();
        fs::write(checkpoints.join(name).join(STATE_FILE), "half").unwrap();
    }
    write(&store, 3);
    write(&store, 4);
    for name in left {
        assert!(!checkpoints.join(name).exists(), "{name}");
    }
    for name in maybe_alive {
        assert!(checkpoints.join(name).join(STATE_FILE).exists(), "{name}");
    }
    write(&store, 5);
    assert!(
        !checkpoints.join(maybe_alive[0]).exists(),
        "older than the 4 and 5 that are kept"
    );
}

#[test]
fn several_writers_and_their_pruning_leave_the_newest_whole_and_nothing_half() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path());
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                for step in 1..=20 {
                    // Another one may have swept this step away as too old.
                    let _ = store.write(&state(step), &state(step).digest());
                }
            });
        }
    });
    write(&store, 21);
    write(&store, 22);
    let found = newest(&store).unwrap().unwrap();
    assert_eq!(found.state.cursor.step, 22);
    let names = fs::read_dir(folder.path().join("checkpoints")).unwrap();
    let hidden = names.filter(|name| {
        name.as_ref()
            .unwrap()
            .file_name()
            .to_string_lossy()
            .starts_with('.')
    });
    assert_eq!(hidden.count(), 0);
}

#[test]
fn torn_cut_and_flipped_files_are_passed_over_for_the_one_before() {
    for damage in [cut as fn(&Path), flip, drop_manifest] {
        let folder = tempfile::tempdir().unwrap();
        let store = store(folder.path());
        write(&store, 1);
        damage(&write(&store, 2));
        let found = newest(&store).unwrap().unwrap();
        assert_eq!(found.state.cursor.step, 1);
        assert_eq!(found.passed_over.len(), 1, "loudly");
    }
}

fn cut(path: &Path) {
    let file = path.join(STATE_FILE);
    let bytes = fs::read(&file).unwrap();
    fs::write(&file, &bytes[..bytes.len() / 2]).unwrap();
}

fn flip(path: &Path) {
    let file = path.join(STATE_FILE);
    let mut bytes = fs::read(&file).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&file, bytes).unwrap();
}

fn drop_manifest(path: &Path) {
    fs::remove_file(path.join(MANIFEST_FILE)).unwrap();
}

#[test]
fn workers_may_write_one_state_at_the_same_time() {
    let folder = tempfile::tempdir().unwrap();
    let checkpoints = folder.path().join("checkpoints");
    fs::create_dir_all(checkpoints.join("adapt-00000007")).unwrap();
    fs::write(checkpoints.join("adapt-00000007/theirs"), "x").unwrap();
    std::thread::scope(|scope| {
        for worker in 0..4 {
            let checkpoints = &checkpoints;
            scope.spawn(move || {
                for _ in 0..20 {
                    let beside = checkpoints.join(format!(".adapt-00000007.{worker}.writing"));
                    fs::create_dir_all(&beside).unwrap();
                    fs::write(beside.join("whose"), "same").unwrap();
                    put_in_place(&beside, &checkpoints.join("adapt-00000007")).unwrap();
                }
            });
        }
    });
    let whose = fs::read_to_string(checkpoints.join("adapt-00000007/whose")).unwrap();
    assert_eq!(whose, "same");
    assert_eq!(fs::read_dir(&checkpoints).unwrap().count(), 1);
}

#[test]
fn another_runs_checkpoint_is_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    write(&store(folder.path()), 1);
    let other = CheckpointStore::new(folder.path().join("checkpoints"), "b".into(), clip(), 2);
    let error = newest(&other).err().unwrap().to_string();
    assert!(error.contains("belongs to run `a`, not `b`"), "{error}");
}

#[test]
fn a_checkpoint_of_other_clip_weights_is_refused_not_passed_over() {
    let folder = tempfile::tempdir().unwrap();
    write(&store(folder.path()), 1);
    let weights = ClipOrigin {
        digest: "d".into(),
        training: ClipTraining::Untrained,
    };
    let other = CheckpointStore::new(folder.path().join("checkpoints"), "a".into(), weights, 2);
    let error = newest(&other).err().unwrap();
    assert!(error.to_string().contains("other CLIP weights (c)"), "{error}");
    let hint = error.hint().unwrap();
    assert!(hint.starts_with("put the former file back"), "{hint}");
}
