//! The prefetcher keeps order, bounds memory, and survives bad files, panics and being dropped.
#![allow(clippy::unwrap_used, reason = "a test that cannot be set up fails")]

mod common;

use std::fs;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use common::{numbered, write_filled, write_roads};
use proptest::prelude::*;
use ulda_dataset::{
    Crop, Dataset, ImagePixels, Job, Prefetcher, SampleError, Sampling, Size, Window, normalise,
};

fn count(number: usize) -> NonZeroUsize {
    NonZeroUsize::new(number).unwrap()
}

fn job(sample: usize) -> Job {
    Job {
        sample,
        sampling: Sampling::default(),
    }
}

fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !condition() {
        assert!(Instant::now() < deadline, "waited 20 s for {what}");
        std::thread::yield_now();
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Images of very different sizes take very different times to decode; the order is the jobs'.
    #[test]
    fn order_is_the_jobs_order(
        samples in prop::collection::vec(0usize..6, 0..60),
        threads in 1usize..5,
        capacity in 1usize..9,
        stalls in prop::collection::vec(0u64..3, 6),
    ) {
        let (folder, spec) = numbered(6, Size::new(4, 4));
        for (number, stall) in stalls.iter().enumerate() {
            let size = Size::square(4 + 300 * *stall as u32);
            let name = format!("{number:05}.png");
            write_filled(&folder.path().join("images").join(&name), size, number as u8);
            write_roads(&folder.path().join("labels").join(&name), size);
        }
        let dataset = Arc::new(Dataset::open(&spec).unwrap());
        let jobs = samples.clone().into_iter().map(|sample| {
            let crop = Some(Crop::At(Window { x: 0, y: 0, size: Size::square(1) }));
            Job { sample, sampling: Sampling { crop, ..Sampling::default() } }
        });
        let prefetcher = Prefetcher::new(dataset, jobs, count(threads), count(capacity)).unwrap();
        let got: Vec<_> = prefetcher.map(Result::unwrap).collect();
        prop_assert_eq!(got.iter().map(|example| example.sample).collect::<Vec<_>>(), samples);
        for example in got {
            let value = example.sample as u8;
            let pixel = ulda_dataset::Image { size: Size::square(1), rgb: vec![value; 3] };
            prop_assert_eq!(example.image, ImagePixels::Normalised(normalise(&pixel)));
        }
    }
}

#[test]
fn never_more_than_the_capacity_is_in_flight() {
    let (_folder, spec) = numbered(3, Size::new(4, 4));
    let dataset = Arc::new(Dataset::open(&spec).unwrap());
    let taken = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&taken);
    let jobs = (0..200).map(move |number| {
        counter.fetch_add(1, Ordering::SeqCst);
        job(number % 3)
    });
    let mut prefetcher = Prefetcher::new(dataset, jobs, count(3), count(5)).unwrap();
    wait_until("the window to fill", || taken.load(Ordering::SeqCst) == 5);
    for handed_out in 1..=200 {
        assert_eq!(prefetcher.next().unwrap().unwrap().sample, (handed_out - 1) % 3);
        assert!(taken.load(Ordering::SeqCst) <= handed_out + 5);
    }
    assert!(prefetcher.next().is_none());
    assert!(prefetcher.next().is_none());
}

#[test]
fn a_bad_file_is_the_result_of_its_own_job() {
    let (folder, spec) = numbered(4, Size::new(4, 4));
    fs::write(folder.path().join("images/00002.png"), "scrap").unwrap();
    let dataset = Arc::new(Dataset::open(&spec).unwrap());
    let prefetcher = Prefetcher::new(dataset, (0..5).map(job), count(2), count(3)).unwrap();
    let got: Vec<_> = prefetcher
        .map(|result| result.map(|example| example.sample))
        .collect();
    assert_eq!(got.len(), 5);
    for number in [0, 1, 3] {
        assert_eq!(*got[number].as_ref().unwrap(), number);
    }
    assert!(matches!(&got[2], Err(SampleError::NotAnImage { path }) if path.ends_with("images/00002.png")));
    assert!(matches!(
        &got[4],
        Err(SampleError::NoSuchSample {
            index: 4,
            count: 4,
            ..
        })
    ));
}

#[test]
fn a_panic_of_the_job_list_comes_at_its_place() {
    let (_folder, spec) = numbered(2, Size::new(4, 4));
    let dataset = Arc::new(Dataset::open(&spec).unwrap());
    let jobs = (0..).map(|number| {
        if number == 3 {
            panic!("no such epoch")
        } else {
            job(number % 2)
        }
    });
    let got: Vec<_> = Prefetcher::new(dataset, jobs, count(2), count(2))
        .unwrap()
        .collect();
    assert_eq!(got.len(), 4);
    assert!(got[..3].iter().all(Result::is_ok));
    let error = got[3].as_ref().unwrap_err().to_string();
    assert_eq!(error, "the job list of the prefetcher panicked: no such epoch");
}

#[test]
fn dropping_ends_the_threads() {
    let (_folder, spec) = numbered(2, Size::new(4, 4));
    let dataset = Arc::new(Dataset::open(&spec).unwrap());
    let mut prefetcher = Prefetcher::new(
        Arc::clone(&dataset),
        (0..).map(|n| job(n % 2)),
        count(4),
        count(4),
    )
    .unwrap();
    prefetcher.next().unwrap().unwrap();
    drop(prefetcher);
    wait_until("the decoders to let go of the dataset", || {
        Arc::strong_count(&dataset) == 1
    });
}

#[test]
fn dropping_does_not_finish_the_window() {
    let (_folder, spec) = numbered(1, Size::square(1500));
    let dataset = Arc::new(Dataset::open(&spec).unwrap());
    let taken = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&taken);
    let jobs = std::iter::repeat_with(move || {
        counter.fetch_add(1, Ordering::SeqCst);
        job(0)
    });
    let prefetcher = Prefetcher::new(Arc::clone(&dataset), jobs, count(1), count(30)).unwrap();
    wait_until("the first job to be taken", || taken.load(Ordering::SeqCst) > 0);
    drop(prefetcher);
    wait_until("the decoder to let go of the dataset", || {
        Arc::strong_count(&dataset) == 1
    });
    assert!(taken.load(Ordering::SeqCst) < 30);
}

#[test]
fn a_file_that_never_arrives_is_named() {
    let (folder, spec) = numbered(2, Size::new(4, 4));
    let image = folder.path().join("images/00001.png");
    let dataset = Arc::new(Dataset::open(&spec).unwrap());
    // Takes longer to read than the prefetcher waits below, as on network storage that does not answer.
    fs::File::create(&image).unwrap().set_len(1 << 30).unwrap();
    let mut prefetcher = Prefetcher::new(dataset, (0..2).map(job), count(1), count(2)).unwrap();
    assert_eq!(prefetcher.next().unwrap().unwrap().sample, 0);
    let mut prefetcher = prefetcher.with_patience(Duration::from_millis(1));
    let error = prefetcher.next().unwrap().unwrap_err();
    assert!(
        matches!(&error, SampleError::Stalled { path, .. } if *path == image),
        "{error}"
    );
}
