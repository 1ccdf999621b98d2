//! One change of one key, from `--set` or from the environment.

use std::path::Path;

use toml::{Table, Value};
use ulda_run::spec::{Keys, ValueKind, url_scheme};

use super::keys;
use super::places::join;
use super::problem::Problem;

/// `a.b=c`, not yet checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edit {
    pub key: String,
    pub value: String,
}

impl Edit {
    /// Reads `key=value`.
    ///
    /// # Errors
    /// A sentence when there is no `=` or no key.
    pub fn parse(text: &str) -> Result<Self, String> {
        match text.split_once('=') {
            Some((key, value)) if !key.trim().is_empty() => Ok(Self {
                key: key.trim().to_owned(),
                value: value.trim().to_owned(),
            }),
            _ => Err(format!(
                "`{text}` is not of the form key=value, such as adapt.steps=500"
            )),
        }
    }

    /// The edit that an environment variable asks for: `ULDA_ADAPT__STEPS` is `adapt.steps`. Variables
    /// without a double underscore are not meant for the run.toml.
    #[must_use]
    pub fn from_variable(name: &str, value: &str) -> Option<Self> {
        let key = name.strip_prefix("ULDA_")?;
        key.contains("__").then(|| Self {
            key: key.to_lowercase().replace("__", "."),
            value: value.to_owned(),
        })
    }

    /// The key as places of keys are named: `domain[0].name` for `domain.0.name` too.
    pub(super) fn place(&self) -> String {
        parse_steps(&self.key)
            .iter()
            .fold(String::new(), |place, step| match step {
                Step::Key(key) => join(&place, key),
                Step::Item(index) => format!("{place}[{index}]"),
            })
    }

    /// Puts the value into the tree. Relative paths are relative to `here`.
    ///
    /// # Errors
    /// An unknown key, a value of the wrong type, or a list position that does not exist.
    pub fn apply(&self, tree: &mut Table, here: &Path) -> Result<(), Vec<Problem>> {
        let steps = parse_steps(&self.key);
        let plain: Vec<&str> = steps.iter().filter_map(|step| step.name()).collect();
        let plain = plain.join(".");
        let Some(key) = Keys::of_run().get(&plain) else {
            return Err(vec![keys::unknown(&self.key, &plain)]);
        };
        let mut value = read_value(&key.kind, &self.value);
        if matches!(key.kind, ValueKind::Path | ValueKind::Paths) {
            start_at(&mut value, here);
        }
        let mut problems = Vec::new();
        let ends_in_item = matches!(steps.last(), Some(Step::Item(_)));
        if !ends_in_item {
            keys::check(key, &plain, &self.key, &value, &mut problems);
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        let mut root = Value::Table(std::mem::take(tree));
        let placed = place(&mut root, &steps, value);
        if let Value::Table(changed) = root {
            *tree = changed;
        }
        placed.map_err(|what| {
            vec![Problem::new(
                &self.key,
                what,
                "name an item that is there, counting from 0",
            )]
        })
    }
}

/// Makes a relative path, or each of a list, start at `here`.
pub(super) fn start_at(value: &mut Value, here: &Path) {
    match value {
        Value::String(path) if !path.is_empty() && url_scheme(path).is_none() => {
            *path = here.join(&*path).to_string_lossy().into_owned();
        }
        Value::Array(paths) => paths.iter_mut().for_each(|path| start_at(path, here)),
        _ => {}
    }
}

#[derive(Debug)]
enum Step {
    Key(String),
    Item(usize),
}

impl Step {
    fn name(&self) -> Option<&str> {
        match self {
            Self::Key(key) => Some(key),
            Self::Item(_) => None,
        }
    }
}

/// `evaluate.set[0].root` and `evaluate.set.0.root` alike.
fn parse_steps(key: &str) -> Vec<Step> {
    key.replace('[', ".")
        .replace(']', "")
        .split('.')
        .map(|part| {
            part.parse()
                .map_or_else(|_| Step::Key(part.to_owned()), Step::Item)
        })
        .collect()
}

fn read_value(kind: &ValueKind, text: &str) -> Value {
    let quoted = text.starts_with(['"', '\'']);
    let is_text = match kind {
        ValueKind::Text | ValueKind::Path | ValueKind::Name | ValueKind::Word(_) => true,
        ValueKind::Texts(_) => !text.starts_with('['),
        _ => false,
    };
    if is_text && !quoted {
        return Value::String(text.to_owned());
    }
    let parsed = format!("value = {text}")
        .parse::<Table>()
        .ok()
        .and_then(|mut table| table.remove("value"));
    parsed.unwrap_or_else(|| Value::String(text.to_owned()))
}

fn place(node: &mut Value, steps: &[Step], value: Value) -> Result<(), String> {
    let Some((first, rest)) = steps.split_first() else {
        *node = value;
        return Ok(());
    };
    match first {
        Step::Key(key) => {
            let Value::Table(table) = node else {
                return Err("is a list; which item is meant?".to_owned());
            };
            let fresh = match rest.first() {
                Some(Step::Item(_)) => Value::Array(Vec::new()),
                Some(Step::Key(_)) | None => Value::Table(Table::new()),
            };
            place(table.entry(key.clone()).or_insert(fresh), rest, value)
        }
        Step::Item(index) => {
            let Value::Array(items) = node else {
                return Err("is not a list".to_owned());
            };
            if *index == items.len() {
                items.push(Value::Table(Table::new()));
            }
            let count = items.len();
            match items.get_mut(*index) {
                Some(item) => place(item, rest, value),
                None => Err(format!("has {count} items")),
            }
        }
    }
}
