//! What the values of label files mean: a train id for each id or colour that a data set may hold.

use std::borrow::Cow;
use std::collections::HashMap;
use std::path::Path;

use ulda_run::Classes;
use ulda_run::spec::{DatasetConfig, FilesProblem, LabelEncoding, LabelValue, Layout, train_id_rule};

use crate::decode::{
    LabelMap, check_image_header, check_label_header, read_file, read_image_bytes, read_label_ids,
};
use crate::error::{ExpectedValues, SampleError};
use crate::header::{ImageHeader, read_png_header};
use crate::labels::{BLACK, IGNORE, IGNORED_COLOURS, LAST_LABEL_ID, to_train_id};
use crate::png_io::PngHeader;
use crate::transform::Framing;

/// The values that the label files of a data set may hold, with their train ids.
#[derive(Debug, Clone)]
pub(crate) struct LabelTable {
    values: Values,
    expected: ExpectedValues,
}

#[derive(Debug, Clone)]
enum Values {
    /// By id; none for an id that is not known.
    Ids([Option<u8>; 256]),
    Colours {
        train_ids: HashMap<[u8; 3], u8>,
        other: Option<u8>,
    },
}

const LARGEST_ID: &str = "the largest known id is 34";

fn expected(rule: impl Into<Cow<'static, str>>, hint: &'static str) -> ExpectedValues {
    ExpectedValues {
        rule: rule.into(),
        hint,
    }
}

impl LabelTable {
    /// # Errors
    /// When the values that `files` lists are none.
    pub(crate) fn of(spec: &DatasetConfig) -> Result<Self, FilesProblem> {
        let (values, expected) = match (spec.layout, spec.files.label_encoding) {
            (Layout::Cityscapes | Layout::Acdc | Layout::Gta5, _) => (
                label_ids(if spec.layout == Layout::Gta5 {
                    u8::MAX
                } else {
                    LAST_LABEL_ID
                }),
                expected(LARGEST_ID, "expected a `labelIds` file, not train ids or colours"),
            ),
            (Layout::Files, _) if !spec.files.label_values.is_empty() => (
                listed(&spec.files.values(&spec.classes)?),
                expected(
                    "`files.label_values` does not list it",
                    "list it with its train id, 255 for ignored pixels, or `other = 255` for all that are not listed",
                ),
            ),
            (Layout::Files, LabelEncoding::LabelIds) => (
                label_ids(LAST_LABEL_ID),
                expected(
                    LARGEST_ID,
                    "expected label ids of Cityscapes; set `files.label_encoding` or `files.label_values` if it holds others",
                ),
            ),
            (Layout::Files, LabelEncoding::TrainIds) => (
                train_ids(&spec.classes),
                expected(
                    train_id_rule(&spec.classes),
                    match spec.classes.has_label_ids() {
                        true => {
                            "leave out `files.label_encoding` for label ids, or list the ids in `files.label_values`"
                        }
                        false => "list the ids in `files.label_values` if the labels hold others",
                    },
                ),
            ),
            (Layout::Files, LabelEncoding::Colours) => (
                palette(&spec.classes),
                expected(
                    match spec.classes.is_cityscapes() {
                        true => "the Cityscapes palette does not have it",
                        false => "no class has it",
                    },
                    "list the colours of this data set in `files.label_values`",
                ),
            ),
        };
        Ok(Self { values, expected })
    }

    /// Whether the header is one of a label file that can hold such values.
    pub(crate) fn check_header(&self, path: &Path, header: &PngHeader) -> Result<(), SampleError> {
        match self.values {
            Values::Ids(_) => check_label_header(path, header),
            Values::Colours { .. } => check_image_header(path, &ImageHeader::Png(*header)),
        }
    }

    /// Reads a label file: its ids as they are stored, or the train ids of its colours.
    pub(crate) fn read(&self, path: &Path) -> Result<LabelMap, SampleError> {
        match &self.values {
            Values::Ids(_) => read_label_ids(path),
            Values::Colours { train_ids, other } => self.read_colours(path, train_ids, *other),
        }
    }

    fn read_colours(
        &self,
        path: &Path,
        train_ids: &HashMap<[u8; 3], u8>,
        other: Option<u8>,
    ) -> Result<LabelMap, SampleError> {
        read_png_header(path)?;
        let image = read_image_bytes(path, &read_file(path)?, |size| Ok(Framing::whole(size)))?;
        let mut ids = Vec::with_capacity(image.size.pixels());
        // Neighbours mostly have the same colour.
        let mut last = None;
        for (at, pixel) in image.rgb.chunks_exact(3).enumerate() {
            let colour = [pixel[0], pixel[1], pixel[2]];
            let known = last.filter(|(before, _)| *before == colour).map(|(_, id)| id);
            let id = known.or_else(|| train_ids.get(&colour).copied()).or(other);
            let Some(id) = id else {
                let (x, y) = place(at, image.size.width);
                return Err(SampleError::UnknownColour {
                    path: path.to_owned(),
                    colour,
                    x,
                    y,
                    expected: self.expected.clone(),
                });
            };
            last = Some((colour, id));
            ids.push(id);
        }
        Ok(LabelMap {
            size: image.size,
            ids,
        })
    }

    /// Refuses ids that are not known, naming the first. Colours were checked as they were read.
    pub(crate) fn check(&self, path: &Path, map: &LabelMap) -> Result<(), SampleError> {
        let Values::Ids(train_ids) = &self.values else {
            return Ok(());
        };
        // Whole-buffer maximum first: it vectorises, and mostly all ids up to the largest are known.
        let largest = usize::from(map.ids.iter().copied().max().unwrap_or(0));
        if train_ids[..=largest].iter().all(Option::is_some) {
            return Ok(());
        }
        let unknown = |id: &u8| train_ids[usize::from(*id)].is_none();
        match map.ids.iter().position(unknown) {
            None => Ok(()),
            Some(at) => {
                let (x, y) = place(at, map.size.width);
                Err(SampleError::IllegalId {
                    path: path.to_owned(),
                    value: map.ids[at],
                    x,
                    y,
                    expected: self.expected.clone(),
                })
            }
        }
    }

    /// The train ids of the framed part of a map that was read and checked; padding is ignored.
    pub(crate) fn train_ids(&self, map: &LabelMap, framing: &Framing) -> LabelMap {
        let table: [u8; 256] = match &self.values {
            Values::Ids(train_ids) => train_ids.map(|train_id| train_id.unwrap_or(IGNORE)),
            Values::Colours { .. } => std::array::from_fn(|id| id as u8),
        };
        let mut ids = vec![IGNORE; framing.target.pixels()];
        let part = framing.source;
        let (width, target_width) = (map.size.width as usize, framing.target.width as usize);
        let columns = part.size.width as usize;
        for row in 0..part.size.height {
            let from = (part.y + row) as usize * width + part.x as usize;
            let to = (framing.offset.1 + row) as usize * target_width + framing.offset.0 as usize;
            for (target, id) in ids[to..to + columns]
                .iter_mut()
                .zip(&map.ids[from..from + columns])
            {
                *target = table[usize::from(*id)];
            }
        }
        LabelMap {
            size: framing.target,
            ids,
        }
    }
}

/// Column and row of a pixel.
fn place(at: usize, width: u32) -> (u32, u32) {
    let width = width as usize;
    ((at % width) as u32, (at / width) as u32)
}

/// Label ids of Cityscapes; those above `last` are not known.
fn label_ids(last: u8) -> Values {
    Values::Ids(std::array::from_fn(|id| {
        (id <= usize::from(last)).then(|| to_train_id(id as u8))
    }))
}

fn train_ids(classes: &Classes) -> Values {
    Values::Ids(std::array::from_fn(|id| {
        (id < classes.len() || id == usize::from(IGNORE)).then_some(id as u8)
    }))
}

/// The colours of the classes. All other labels of Cityscapes have theirs too; the others of own classes are black.
fn palette(classes: &Classes) -> Values {
    let ignored: &[[u8; 3]] = match classes.is_cityscapes() {
        true => &IGNORED_COLOURS,
        false => &[BLACK],
    };
    let ignored = ignored.iter().map(|colour| (*colour, IGNORE));
    let classes = (0..)
        .zip(classes)
        .map(|(train_id, class)| (class.colour, train_id));
    Values::Colours {
        train_ids: ignored.chain(classes).collect(),
        other: None,
    }
}

/// The values that a run.toml lists: ids, or colours.
fn listed(values: &[(LabelValue, u8)]) -> Values {
    let other = values
        .iter()
        .find_map(|(value, train_id)| (*value == LabelValue::Other).then_some(*train_id));
    let mut ids = [other; 256];
    let mut colours = HashMap::new();
    for (value, train_id) in values {
        match *value {
            LabelValue::Id(id) => ids[usize::from(id)] = Some(*train_id),
            LabelValue::Colour(colour) => {
                colours.insert(colour, *train_id);
            }
            LabelValue::Other => {}
        }
    }
    match colours.is_empty() {
        true => Values::Ids(ids),
        false => Values::Colours {
            train_ids: colours,
            other,
        },
    }
}
