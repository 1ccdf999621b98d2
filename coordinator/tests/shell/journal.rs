//! What is written can be read, by others, while it is written.

use ulda_coordinator::journal::{Journal, JournalEntry, JournalError, JournalReader, Level};
use ulda_dataset::ConfusionMatrix;
use ulda_run::stage::{Cursor, Stage};

fn at(step: u64) -> Cursor {
    Cursor {
        stage: Stage::Adapt,
        step,
    }
}

fn loss(step: u64, value: f64) -> JournalEntry {
    JournalEntry::Metric {
        place: at(step),
        name: "loss.seg".into(),
        value,
    }
}

#[tokio::test]
async fn readers_see_what_was_committed_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal.sqlite");
    let mut journal = Journal::open(&path).unwrap();
    let reader = JournalReader::open(&path).unwrap();

    journal.note(JournalEntry::Record {
        json: "{\"a\":1}".into(),
    });
    journal.note(loss(1, 2.0));
    assert!(reader.records().unwrap().is_empty());
    journal.commit().await.unwrap();
    assert_eq!(reader.records().unwrap()[0].json, "{\"a\":1}");

    journal.note(loss(2, f64::NAN));
    journal.note(loss(1, 1.5));
    for _ in 0..2 {
        journal.note(JournalEntry::Phase {
            stage: Stage::Adapt,
            slot: 0,
            name: "data".into(),
            amount: 0.25,
        });
    }
    let confusion = ConfusionMatrix::from_counts(&[1; 361]).unwrap();
    journal.note(JournalEntry::Evaluation {
        model: "adapted".into(),
        set: "fog".parse().unwrap(),
        place: at(3),
        images: 4,
        confusion: confusion.clone(),
        seconds: 1.0,
    });
    journal.note(JournalEntry::Checkpoint {
        path: "checkpoints/adapt-2".into(),
        place: at(2),
        digest: "d".into(),
        size_bytes: 10,
    });
    journal.note(JournalEntry::Event {
        level: Level::Warn,
        slot: Some(1),
        text: "lost".into(),
    });
    journal.note(JournalEntry::Process {
        slot: 1,
        attempt: 2,
        process_id: 77,
        started_ticks: 5,
    });
    journal.commit().await.unwrap();
    drop(journal);

    let curves = reader.curves().unwrap();
    let points: Vec<(u64, Option<f64>)> = curves[&Stage::Adapt]["loss.seg"]
        .iter()
        .map(|point| (point.step, point.value))
        .collect();
    assert_eq!(points, [(1, Some(1.5)), (2, None)]);
    assert_eq!(
        reader.latest(Stage::Adapt).unwrap().len(),
        0,
        "a value that is not finite is not shown as a number"
    );
    assert_eq!(reader.phases().unwrap()[0].amount, 0.5);
    assert_eq!(reader.evaluations().unwrap()[0].confusion, confusion);
    assert_eq!(reader.checkpoints().unwrap()[0].place, at(2));
    assert_eq!(reader.last_events(3).unwrap()[0].text, "lost");
    assert_eq!(reader.processes().unwrap()[0].process_id, 77);
}

#[test]
fn what_is_no_journal_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal.sqlite");
    std::fs::write(
        &path,
        "this is no database, and is long enough to be looked at ".repeat(20),
    )
    .unwrap();
    for result in [
        Journal::open(&path).map(|_| ()),
        JournalReader::open(&path).map(|_| ()),
    ] {
        assert!(
            matches!(result, Err(JournalError::NotAJournal { .. })),
            "{result:?}"
        );
    }
    let missing = JournalReader::open(&folder.path().join("none.sqlite")).unwrap_err();
    assert!(missing.to_string().starts_with("read journal"), "{missing}");
}

#[test]
fn a_journal_of_another_format_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal.sqlite");
    drop(Journal::open(&path).unwrap());
    rusqlite::Connection::open(&path)
        .unwrap()
        .pragma_update(None, "user_version", 9)
        .unwrap();
    let told = Journal::open(&path).unwrap_err().to_string();
    assert!(told.contains("has format 9, this version reads 1"), "{told}");
}

/// A full disk is played by SQLite's own page limit: the same error code, in the same place.
#[test]
fn a_full_disk_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal.sqlite");
    drop(Journal::open(&path).unwrap());
    let connection = rusqlite::Connection::open(&path).unwrap();
    connection.pragma_update(None, "max_page_count", 1).unwrap();
    let cause = connection
        .execute(
            "INSERT INTO facts (key, value) VALUES ('a', ?)",
            [&"x".repeat(1 << 20)],
        )
        .unwrap_err();
    let told = JournalError::of_write(&path, cause);
    assert!(
        told.to_string().starts_with("no space left to write journal"),
        "{told}"
    );
    assert!(told.hint().unwrap().starts_with("free some"), "{told:?}");
}

#[tokio::test]
async fn a_coordinator_that_has_a_successor_cannot_write_any_more() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal.sqlite");
    let mut first = Journal::open(&path).unwrap();
    first.claim(1);
    first.note(loss(1, 2.0));
    first.commit().await.unwrap();

    let mut second = Journal::open(&path).unwrap();
    second.claim(2);
    second.note(loss(2, 2.0));
    second.commit().await.unwrap();

    first.note(loss(3, 2.0));
    let refused = first.commit().await.unwrap_err();
    assert!(
        matches!(
            refused,
            JournalError::Superseded {
                ours: 1,
                theirs: 2,
                ..
            }
        ),
        "{refused}"
    );
    let reader = JournalReader::open(&path).unwrap();
    assert_eq!(reader.facts().unwrap().get("term").map(String::as_str), Some("2"));
    second.note(loss(4, 2.0));
    second.commit().await.unwrap();
}
