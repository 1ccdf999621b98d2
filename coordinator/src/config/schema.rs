//! Which keys a run.toml may hold and of which type, read off `RunConfig` itself.

use std::collections::BTreeMap;

use toml::{Table, Value};
use ulda_run::spec::{DomainConfig, EvaluationSetConfig, Layout, PathName, RunConfig, StorageConfig};

use super::load::Problem;
use super::nearest::nearest;

/// What a key's value has to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ValueKind {
    Whole,
    Number,
    Text,
    /// A text that becomes a file or folder of that name.
    Name,
    Switch,
    /// Width and height.
    Size,
    /// One of these words.
    Word(&'static [&'static str]),
    /// A list of texts.
    Texts,
    /// A section that can occur many times; the number of its required keys.
    List(&'static [&'static str]),
    Section,
}

impl ValueKind {
    fn wanted(self) -> String {
        let wanted = match self {
            Self::Whole => "a whole number of 0 or more",
            Self::Number => "a number",
            Self::Text => "a text in quotes",
            Self::Name => PathName::ALLOWED,
            Self::Switch => "true or false",
            Self::Size => "[width, height] in pixels",
            Self::Word(words) => return one_of(words),
            Self::Texts => "a list of texts, [\"…\", \"…\"]",
            Self::List(_) => "a list of sections, written `[[…]]`",
            Self::Section => "a section, written `[…]`",
        };
        wanted.to_owned()
    }

    fn accepts(self, value: &Value) -> bool {
        match (self, value) {
            (Self::Whole, Value::Integer(number)) => *number >= 0,
            (Self::Number, Value::Integer(_) | Value::Float(_))
            | (Self::Text, Value::String(_))
            | (Self::Switch, Value::Boolean(_))
            | (Self::Section, Value::Table(_)) => true,
            (Self::Name, Value::String(name)) => name.parse::<PathName>().is_ok(),
            (Self::Size, Value::Array(sides)) => {
                sides.len() == 2
                    && sides
                        .iter()
                        .all(|side| side.as_integer().is_some_and(|n| u32::try_from(n).is_ok()))
            }
            (Self::Word(words), Value::String(word)) => words.contains(&word.as_str()),
            (Self::List(_), Value::Array(items)) => items.iter().all(Value::is_table),
            (Self::Texts, Value::Array(items)) => items.iter().all(Value::is_str),
            _ => false,
        }
    }
}

/// All keys of a run.toml by dotted path; items of lists under the list's own path.
#[derive(Clone, Debug)]
pub struct Schema {
    keys: BTreeMap<String, ValueKind>,
}

impl Schema {
    /// The schema of `RunConfig` as it is compiled in.
    #[must_use]
    pub fn of_run() -> Self {
        let mut config = RunConfig::default();
        config.run.shards = Some(1);
        config.run.threads_per_shard = Some(1);
        config.recovery.max_workers = Some(1);
        config.source.centre_crop = Some([1, 1]);
        config.pretrain.checkpoint = Some("x".into());
        config.simulate.prompt_groups = Some(1);
        config.simulate.bank = Some("x".into());
        config.storage = StorageConfig {
            url: Some("x".into()),
            endpoint: Some("x".into()),
            region: Some("x".into()),
            path_style: Some(true),
            allow_http: Some(true),
            cache: Some("x".into()),
            ..StorageConfig::default()
        };
        config.domains = vec![DomainConfig {
            name: "x".parse().expect("a plain name"),
            prompt: "x".into(),
            images: vec!["x".into()],
        }];
        config.evaluate.sets = vec![EvaluationSetConfig {
            name: "x".parse().expect("a plain name"),
            layout: Layout::Acdc,
            root: "x".into(),
            split: "x".into(),
            condition: Some("x".into()),
            only_size: Some([1, 1]),
            centre_crop: Some([1, 1]),
        }];
        let tree = Table::try_from(&config).expect("a run.toml's types all have a TOML form");
        let mut schema = Self {
            keys: BTreeMap::new(),
        };
        schema.collect("", &tree);
        schema
    }

    fn collect(&mut self, prefix: &str, table: &Table) {
        for (key, value) in table {
            let path = join(prefix, key);
            let kind = match value {
                Value::Integer(_) => ValueKind::Whole,
                Value::Float(_) => ValueKind::Number,
                Value::Boolean(_) => ValueKind::Switch,
                Value::String(_) if key == "name" => ValueKind::Name,
                Value::String(_) | Value::Datetime(_) => {
                    words_of(key).map_or(ValueKind::Text, ValueKind::Word)
                }
                Value::Table(inner) => {
                    self.collect(&path, inner);
                    ValueKind::Section
                }
                Value::Array(items) => match items.first() {
                    Some(Value::Table(inner)) => {
                        self.collect(&path, inner);
                        ValueKind::List(if path == "domain" {
                            &["name", "prompt"]
                        } else {
                            &["name", "layout", "root"]
                        })
                    }
                    Some(Value::String(_)) => ValueKind::Texts,
                    _ => ValueKind::Size,
                },
            };
            self.keys.insert(path, kind);
        }
    }

    /// Every key that holds a value, sections left out.
    pub fn leaves(&self) -> impl Iterator<Item = &str> {
        let leaf = |kind: &ValueKind| !matches!(kind, ValueKind::Section | ValueKind::List(_));
        self.keys
            .iter()
            .filter(move |(_, kind)| leaf(kind))
            .map(|(key, _)| key.as_str())
    }

    /// The kind of the key at `path`, whose list positions are left out.
    #[must_use]
    pub fn kind(&self, path: &str) -> Option<ValueKind> {
        self.keys.get(path).copied()
    }

    /// The problem with a key that does not exist.
    #[must_use]
    pub fn unknown(&self, shown: &str, plain: &str) -> Problem {
        let section = plain.rsplit_once('.').map_or("", |(section, _)| section);
        let near = nearest(plain, self.keys.keys().map(String::as_str));
        let hint = match near {
            Some(near) => format!("the nearest known key is `{near}`"),
            None if self.kind(section).is_some() => {
                let own: Vec<&str> = self.members(section).collect();
                format!("`{section}` has {}", own.join(", "))
            }
            None => format!(
                "the sections are {}",
                self.members("").collect::<Vec<_>>().join(", ")
            ),
        };
        Problem::new(shown, "is not a key of a run.toml", hint)
    }

    fn members<'a>(&'a self, section: &'a str) -> impl Iterator<Item = &'a str> {
        self.keys.keys().filter_map(move |key| {
            let rest = if section.is_empty() {
                key
            } else {
                key.strip_prefix(section)?.strip_prefix('.')?
            };
            (!rest.contains('.')).then_some(rest)
        })
    }

    /// All that is wrong with the keys and types of a whole tree.
    #[must_use]
    pub fn problems(&self, tree: &Table) -> Vec<Problem> {
        let mut problems = Vec::new();
        self.walk("", "", tree, &mut problems);
        problems
    }

    fn walk(&self, plain: &str, shown: &str, table: &Table, problems: &mut Vec<Problem>) {
        for (key, value) in table {
            self.check(&join(plain, key), &join(shown, key), value, problems);
        }
    }

    /// All that is wrong with one value, which may be a section.
    pub fn check(&self, plain: &str, shown: &str, value: &Value, problems: &mut Vec<Problem>) {
        let Some(kind) = self.kind(plain) else {
            problems.push(self.unknown(shown, plain));
            return;
        };
        if !kind.accepts(value) {
            let no_name = match (kind, value) {
                (ValueKind::Name, Value::String(name)) => name.parse::<PathName>().err(),
                _ => None,
            };
            let what = no_name.map_or_else(|| format!("is {}", describe(value)), |why| why.to_string());
            problems.push(Problem::new(shown, what, format!("give {}", kind.wanted())));
            return;
        }
        match (kind, value) {
            (ValueKind::Section, Value::Table(inner)) => self.walk(plain, shown, inner, problems),
            (ValueKind::List(required), Value::Array(items)) => {
                for (index, item) in items.iter().enumerate() {
                    let Value::Table(inner) = item else { continue };
                    let shown = format!("{shown}[{index}]");
                    self.walk(plain, &shown, inner, problems);
                    for name in required.iter().filter(|name| !inner.contains_key(**name)) {
                        let kind = self.kind(&join(plain, name)).unwrap_or(ValueKind::Text);
                        let hint = format!("give {}", kind.wanted());
                        problems.push(Problem::new(&join(&shown, name), "is missing", hint));
                    }
                }
            }
            _ => {}
        }
    }
}

/// The words that a key takes, for keys that take no others.
fn words_of(key: &str) -> Option<&'static [&'static str]> {
    Some(match key {
        "layout" => &["cityscapes", "gta5", "acdc"],
        "end_after" => &["pretrain", "simulate", "adapt"],
        "styles" => &["learned", "content", "images", "bank"],
        _ => return None,
    })
}

/// "\"a\", \"b\" or \"c\"".
fn one_of(words: &[&str]) -> String {
    let quoted: Vec<String> = words.iter().map(|word| format!("\"{word}\"")).collect();
    match quoted.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, others)) => format!("{} or {last}", others.join(", ")),
        None => String::new(),
    }
}

fn join(prefix: &str, key: &str) -> String {
    if prefix.is_empty() {
        key.to_owned()
    } else {
        format!("{prefix}.{key}")
    }
}

fn describe(value: &Value) -> String {
    match value {
        Value::String(text) => format!("the text \"{text}\""),
        Value::Integer(number) => format!("{number}"),
        Value::Float(number) => format!("{number}"),
        Value::Boolean(switch) => format!("{switch}"),
        Value::Datetime(moment) => format!("the date {moment}"),
        Value::Array(items) => format!("a list of {}", items.len()),
        Value::Table(_) => "a section".to_owned(),
    }
}
