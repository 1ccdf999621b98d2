//! Draws what a request names, on any number of threads, and writes it.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::num::NonZero;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::camera::Size;
use crate::disk::{Item, acdc, cityscapes, gta5};
use crate::error::StreetsError;
use crate::label::LABEL_COUNT;
use crate::layout::{Style, scene};
use crate::picture::{Picture, draw};
use crate::request::Request;
use crate::rng::SceneRng;
use crate::weather::{Atmosphere, Condition};
use crate::world::World;

/// What was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    pub cityscapes_train: u32,
    pub cityscapes_val: u32,
    /// Pairs over all conditions and both splits.
    pub acdc: u32,
    pub gta5: u32,
    /// Pixels of each label id over all pictures.
    pub pixels: [u64; LABEL_COUNT],
}

/// Which scene, whatever it is seen in or written as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SceneKey {
    pub seed: u64,
    pub style: Style,
    /// Number of tree and split.
    pub split: u64,
    pub index: u32,
}

impl SceneKey {
    fn rng(self) -> SceneRng {
        SceneRng::keyed(self.seed, self.split, u64::from(self.index))
    }

    /// The world of the scene; the same for every condition and size.
    pub fn world(self) -> World {
        scene(self.style, &self.rng())
    }

    /// The scene in a condition.
    pub fn picture(self, condition: Condition, size: Size) -> Picture {
        let air = Atmosphere::of(condition, &mut self.rng().fork(9));
        draw(&self.world(), &air, size)
    }
}

/// Every pair a request asks for, in the order of its folders.
pub fn items(request: &Request) -> Vec<Item> {
    let mut items = cityscapes::items(request.train, request.val);
    for condition in Condition::ADVERSE {
        items.extend(acdc::items(condition, request.per_condition));
    }
    items.extend(gta5::items(request.gta));
    items
}

/// Draws one pair of a request; the bytes depend on seed, split, index and size only.
pub fn draw_item(request: &Request, item: &Item) -> Picture {
    let size = if item.style == Style::Gta {
        request.gta_size
    } else {
        request.size
    };
    let key = SceneKey {
        seed: request.seed,
        style: item.style,
        split: item.split_key,
        index: item.index,
    };
    key.picture(item.condition, size)
}

/// Makes the data sets of a request.
///
/// # Errors
/// A request out of bounds, a folder that is not empty (without `force`), or a file that cannot be written.
pub fn generate(request: &Request) -> Result<Summary, StreetsError> {
    request.check()?;
    refuse_full_folder(request)?;
    let items = items(request);
    make_folders(&request.out, &items)?;
    let pixels = draw_all(request, &items)?;
    if request.gta > 0 {
        gta5::write_lists(&request.out, request.gta)?;
    }
    Ok(Summary {
        cityscapes_train: request.train,
        cityscapes_val: request.val,
        acdc: request.per_condition * 2 * Condition::ADVERSE.len() as u32,
        gta5: request.gta,
        pixels,
    })
}

fn refuse_full_folder(request: &Request) -> Result<(), StreetsError> {
    let path = &request.out;
    let occupied = match fs::read_dir(path) {
        Err(fault) if fault.kind() == io::ErrorKind::NotFound => false,
        Err(source) => {
            return Err(StreetsError::Look {
                path: path.clone(),
                source,
            });
        }
        Ok(mut entries) => entries.next().is_some(),
    };
    if occupied && !request.force {
        Err(StreetsError::NotEmpty { path: path.clone() })
    } else {
        Ok(())
    }
}

fn make_folders(out: &Path, items: &[Item]) -> Result<(), StreetsError> {
    let folders: BTreeSet<_> = items
        .iter()
        .flat_map(|item| [item.image.parent(), item.label.parent()])
        .flatten()
        .collect();
    for folder in folders {
        let path = out.join(folder);
        fs::create_dir_all(&path).map_err(|source| StreetsError::Folder { path, source })?;
    }
    Ok(())
}

fn draw_all(request: &Request, items: &[Item]) -> Result<[u64; LABEL_COUNT], StreetsError> {
    let offered = std::thread::available_parallelism().map_or(1, NonZero::get);
    let threads = if request.threads == 0 {
        offered
    } else {
        request.threads
    }
    .min(items.len())
    .max(1);
    let next = AtomicUsize::new(0);
    let totals = Mutex::new([0u64; LABEL_COUNT]);
    let work = || -> Result<(), StreetsError> {
        let mut counts = [0u64; LABEL_COUNT];
        while let Some(item) = items.get(next.fetch_add(1, Ordering::Relaxed)) {
            let picture = draw_item(request, item);
            picture.labels.iter().for_each(|&id| counts[id as usize] += 1);
            if let Err(fault) = item.write(&request.out, &picture) {
                // Nobody needs to draw on once the disk refuses.
                next.store(items.len(), Ordering::Relaxed);
                return Err(fault);
            }
        }
        let mut totals = totals.lock().expect("no thread panics while it adds counts");
        totals.iter_mut().zip(counts).for_each(|(t, c)| *t += c);
        Ok(())
    };
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        workers
            .into_iter()
            .try_for_each(|worker| worker.join().expect("drawing does not panic"))
    })?;
    Ok(totals
        .into_inner()
        .expect("no thread panics while it adds counts"))
}
