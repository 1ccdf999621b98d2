//! One path that a program opens, and what holds for whatever it leads to.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use ulda_tests::{BoundedEnd, World, run_bounded};

use super::odd::Odd;

pub const LONGEST: Duration = Duration::from_secs(60);
pub const MOST_BYTES: u64 = 2 << 30;

pub const DONE: i32 = 0;
pub const FAILED: i32 = 1;
pub const UNAVAILABLE: i32 = 75;
pub const BAD_INPUT: i32 = 78;

/// A path, the command that opens it, and how that ends.
pub struct Place {
    /// Below the world's folder; a `*` as the last part is the first file of that folder in order of name.
    pub path: &'static str,
    /// `{here}` is the world's folder.
    pub arguments: &'static [&'static str],
    pub code: i32,
    /// What ends otherwise, as what the path leads to means something else there, or is never looked into.
    pub but: &'static [(Odd, i32)],
    /// Variables of the environment, whose values are paths below the world's folder.
    pub environment: &'static [(&'static str, &'static str)],
}

impl Place {
    pub const fn new(path: &'static str, arguments: &'static [&'static str], code: i32) -> Self {
        Self {
            path,
            arguments,
            code,
            but: &[],
            environment: &[],
        }
    }

    pub const fn but(self, but: &'static [(Odd, i32)]) -> Self {
        Self { but, ..self }
    }

    pub const fn with(self, environment: &'static [(&'static str, &'static str)]) -> Self {
        Self { environment, ..self }
    }

    fn code_for(&self, odd: Odd) -> i32 {
        let other = self.but.iter().find(|(kind, _)| *kind == odd);
        other.map_or(self.code, |(_, code)| *code)
    }

    fn resolve(&self, world: &World) -> PathBuf {
        let Some(folder) = self.path.strip_suffix("/*") else {
            return world.path(self.path);
        };
        let entries = std::fs::read_dir(world.path(folder)).unwrap();
        entries
            .map(|entry| entry.unwrap().path())
            .min()
            .expect("it holds a file")
    }

    /// A verb of the worker begins with its name, any other is the coordinator's.
    fn command(&self, world: &World) -> Command {
        let here = world.path("").display().to_string();
        let arguments: Vec<String> = self
            .arguments
            .iter()
            .map(|argument| argument.replace("{here}", here.trim_end_matches('/')))
            .collect();
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let mut command = match arguments[..] {
            ["worker", ref rest @ ..] => world.worker(rest),
            _ => world.command(&arguments),
        };
        command.envs(
            self.environment
                .iter()
                .map(|(name, path)| (name, world.path(path))),
        );
        command
    }

    /// What is wrong with how it ended for `odd`.
    fn failure(&self, world: &World, odd: Odd) -> Option<String> {
        let path = self.resolve(world);
        odd.put(&path);
        let end = run_bounded(self.command(world), LONGEST);
        let wrong = self.wrong(odd, &path.file_name().unwrap().to_string_lossy(), &end);
        let BoundedEnd {
            code,
            said,
            took,
            peak_bytes,
        } = end;
        (!wrong.is_empty()).then(|| {
            format!(
                "{odd:?} as {} for {:?}: {}\nended with {code:?} after {took:.1?}, peak {} MiB, and said:\n{said}",
                self.path,
                self.arguments,
                wrong.join("; "),
                peak_bytes >> 20
            )
        })
    }

    fn wrong(&self, odd: Odd, name: &str, end: &BoundedEnd) -> Vec<String> {
        let mut wrong = Vec::new();
        let expected = self.code_for(odd);
        if end.code != Some(expected) {
            wrong.push(format!("exit code {:?}, expected {expected}", end.code));
        }
        let folder = self.path.rsplit_once('/').map_or("", |(folder, _)| folder);
        let is_named = end.said.contains(name) || end.said.contains(&format!("{folder}`"));
        if expected != DONE && !is_named {
            wrong.push(format!("does not name `{name}`"));
        }
        if end.said.contains("panicked") {
            wrong.push("a panic".to_owned());
        }
        if end.took > LONGEST {
            wrong.push(format!("took {:?}", end.took));
        }
        if end.peak_bytes > MOST_BYTES {
            wrong.push(format!("took {} MiB", end.peak_bytes >> 20));
        }
        wrong
    }
}

/// Tries every kind in every place, each in a fresh world, on as many threads as there are cores, and tells of all that
/// fail; the number of rows.
pub fn hold(places: &[Place], kinds: &[Odd], make_world: fn() -> World) -> usize {
    let kinds = kinds.iter().filter(|kind| kind.is_possible());
    let rows: Vec<(&Place, Odd)> = kinds
        .flat_map(|kind| places.iter().map(move |place| (place, *kind)))
        .collect();
    // The first one draws what the others copy.
    drop(make_world());
    let next = std::sync::atomic::AtomicUsize::new(0);
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(4);
    let failures: Vec<String> = std::thread::scope(|scope| {
        let work = || {
            let mut failures = Vec::new();
            while let Some((place, odd)) = rows.get(next.fetch_add(1, std::sync::atomic::Ordering::Relaxed)) {
                failures.extend(place.failure(&make_world(), *odd));
            }
            failures
        };
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        workers
            .into_iter()
            .flat_map(|worker| worker.join().unwrap())
            .collect()
    });
    assert!(
        failures.is_empty(),
        "{} of {} rows failed:\n{}",
        failures.len(),
        rows.len(),
        failures.join("\n\n")
    );
    rows.len()
}
