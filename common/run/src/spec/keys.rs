//! All keys of a run.toml, read off the JSON Schema of [`RunConfig`]: what each holds, its range, default and documentation.

use std::sync::LazyLock;

use schemars::generate::SchemaSettings;
use serde_json::{Map, Value as Json};
use toml::{Table, Value};

use super::config::RunConfig;
use super::path_name::PathName;

/// What a key's value has to be.
#[derive(Clone, Debug, PartialEq)]
pub enum ValueKind {
    Whole {
        least: u64,
        most: u64,
        multiple_of: u64,
    },
    Number {
        least: f64,
        most: f64,
    },
    Text,
    /// A file or folder, or a URL where the key's documentation says so.
    Path,
    /// A text that becomes a file or folder of that name.
    Name,
    Switch,
    /// Width and height.
    Size,
    /// One of these words.
    Word(Vec<Word>),
    /// A list of paths.
    Paths,
    /// A list of texts.
    TextList,
    /// One of these words, or any text where there is none, or a list of texts.
    Texts(Vec<Word>),
    /// A section of whole numbers under names of its own.
    Numbers {
        most: u64,
    },
    /// A section that can occur many times.
    List(Vec<Key>),
    Section(Vec<Key>),
}

/// A word that a key takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Word {
    pub name: String,
    pub documentation: String,
}

/// A key, a section or a list of sections.
#[derive(Clone, Debug, PartialEq)]
pub struct Key {
    pub name: String,
    pub documentation: String,
    pub kind: ValueKind,
    /// `None` where nothing stands for a value that is left out.
    pub default: Option<Value>,
    pub example: Option<Value>,
    /// Whether an item of a list must have it.
    pub required: bool,
}

/// All sections of a run.toml in their order.
#[derive(Clone, Debug)]
pub struct Keys {
    pub documentation: String,
    pub sections: Vec<Key>,
}

impl Keys {
    /// The keys of [`RunConfig`] as it is compiled in.
    #[must_use]
    pub fn of_run() -> &'static Self {
        static KEYS: LazyLock<Keys> = LazyLock::new(|| {
            let schema = json_schema();
            Keys {
                documentation: text(&schema, "description"),
                sections: members(&schema),
            }
        });
        &KEYS
    }

    /// The key at a dotted path, in which the positions of list items are left out.
    #[must_use]
    pub fn get(&self, path: &str) -> Option<&Key> {
        let mut parts = path.split('.');
        let mut key = find(&self.sections, parts.next()?)?;
        for part in parts {
            key = find(key.members(), part)?;
        }
        Some(key)
    }

    /// Every key by its dotted path; sections come before their members.
    #[must_use]
    pub fn all(&self) -> Vec<(String, &Key)> {
        fn collect<'a>(prefix: &str, keys: &'a [Key], found: &mut Vec<(String, &'a Key)>) {
            for key in keys {
                let path = join(prefix, &key.name);
                found.push((path.clone(), key));
                collect(&path, key.members(), found);
            }
        }
        let mut found = Vec::new();
        collect("", &self.sections, &mut found);
        found
    }

    /// Calls `visit` with each value of `tree` that has a key, the key, and its dotted path with positions of list items.
    pub fn visit(&self, tree: &mut Table, visit: &mut dyn FnMut(&Key, &str, &mut Value)) {
        walk(&self.sections, "", tree, visit);
    }
}

impl Key {
    /// Keys of a section, or of an item of a list.
    #[must_use]
    pub fn members(&self) -> &[Key] {
        match &self.kind {
            ValueKind::List(members) | ValueKind::Section(members) => members,
            _ => &[],
        }
    }

    /// What is wrong with a value of the right type, and what to give instead.
    #[must_use]
    pub fn range_problem(&self, value: &Value) -> Option<(String, String)> {
        let within = match (&self.kind, value) {
            (
                ValueKind::Whole {
                    least,
                    most,
                    multiple_of,
                },
                Value::Integer(number),
            ) => u64::try_from(*number)
                .is_ok_and(|n| n >= *least && n <= *most && n.is_multiple_of(*multiple_of)),
            (ValueKind::Number { least, most }, Value::Float(number)) => number >= least && number <= most,
            (ValueKind::Size, Value::Array(sides)) => {
                sides.iter().all(|side| side.as_integer().is_some_and(|n| n > 0))
            }
            _ => true,
        };
        (!within).then(|| (format!("is {value}"), format!("give {}", self.kind.wanted())))
    }
}

impl ValueKind {
    /// What to give, for a hint.
    #[must_use]
    pub fn wanted(&self) -> String {
        let wanted = match self {
            Self::Whole {
                least, multiple_of, ..
            } if *multiple_of > 1 => {
                return format!("a multiple of {multiple_of}, {least} or more");
            }
            Self::Whole { least, most, .. } => {
                return match *most {
                    OPEN_END.. => format!("a whole number of {least} or more"),
                    most => format!("a whole number of {least} to {most}"),
                };
            }
            Self::Number { least, most } => {
                return match (*least == f64::MIN, *most == f64::MAX) {
                    (true, _) => "a number".to_owned(),
                    (false, true) => format!("a number of {least} or more"),
                    (false, false) => format!("a number of {least} to {most}"),
                };
            }
            Self::Word(words) => return one_of(words),
            Self::Text | Self::Path => "a text in quotes",
            Self::Name => PathName::ALLOWED,
            Self::Switch => "true or false",
            Self::Size => "[width, height] in pixels",
            Self::Texts(words) if words.is_empty() => "a text in quotes, or a list of texts, [\"…\", \"…\"]",
            Self::Texts(words) => return format!("{}, or a list of texts", listed(words, ", ")),
            Self::Numbers { most } => return format!("a section of whole numbers of 0 to {most}"),
            Self::Paths | Self::TextList => "a list of texts, [\"…\", \"…\"]",
            Self::List(_) => "a list of sections, written `[[…]]`",
            Self::Section(_) => "a section, written `[…]`",
        };
        wanted.to_owned()
    }

    /// Whether the value is of the right type, in or out of range.
    #[must_use]
    pub fn accepts(&self, value: &Value) -> bool {
        match (self, value) {
            (Self::Whole { most, .. }, Value::Integer(number)) => {
                u64::try_from(*number).is_ok_and(|n| n <= (*most).max(u64::from(u32::MAX)))
            }
            (Self::Number { .. }, Value::Integer(_) | Value::Float(_))
            | (Self::Text | Self::Path, Value::String(_))
            | (Self::Switch, Value::Boolean(_))
            | (Self::Section(_), Value::Table(_)) => true,
            (Self::Name, Value::String(name)) => name.parse::<PathName>().is_ok(),
            (Self::Size, Value::Array(sides)) => {
                let pixels = |side: &Value| side.as_integer().is_some_and(|n| u32::try_from(n).is_ok());
                sides.len() == 2 && sides.iter().all(pixels)
            }
            (Self::Texts(words), Value::String(_)) if words.is_empty() => true,
            (Self::Word(words) | Self::Texts(words), Value::String(given)) => {
                words.iter().any(|word| word.name == *given)
            }
            (Self::List(_), Value::Array(items)) => items.iter().all(Value::is_table),
            (Self::Numbers { most }, Value::Table(numbers)) => numbers.values().all(|number| {
                number
                    .as_integer()
                    .is_some_and(|n| u64::try_from(n).is_ok_and(|n| n <= *most))
            }),
            (Self::Paths | Self::TextList | Self::Texts(_), Value::Array(items)) => {
                items.iter().all(Value::is_str)
            }
            _ => false,
        }
    }
}

/// The JSON Schema (draft 7) of a run.toml, for editors.
#[must_use]
pub fn json_schema() -> Json {
    let settings = SchemaSettings::draft07().with(|settings| settings.inline_subschemas = true);
    settings
        .into_generator()
        .into_root_schema_for::<RunConfig>()
        .to_value()
}

/// Largest numbers of TOML; a range that ends there has no end worth a word.
const OPEN_END: u64 = u32::MAX as u64;

fn members(schema: &Json) -> Vec<Key> {
    let required: Vec<&str> = schema["required"]
        .as_array()
        .map_or_else(Vec::new, |names| names.iter().filter_map(Json::as_str).collect());
    let properties = schema["properties"].as_object();
    properties
        .into_iter()
        .flatten()
        .map(|(name, property)| Key {
            name: name.clone(),
            documentation: text(property, "description"),
            kind: kind(name, property),
            default: property.get("default").and_then(to_toml),
            example: property["examples"].get(0).and_then(to_toml),
            required: required.contains(&name.as_str()),
        })
        .collect()
}

fn kind(name: &str, schema: &Json) -> ValueKind {
    let of_kind = words(schema);
    if !of_kind.is_empty() {
        return ValueKind::Word(of_kind);
    }
    // Of what may be one or several.
    if let Some(one) = schema["anyOf"].get(0) {
        return ValueKind::Texts(words(one));
    }
    let of_type = match &schema["type"] {
        // Of a key that can be left out: the other is "null".
        Json::Array(types) => types.first().and_then(Json::as_str),
        other => other.as_str(),
    };
    let format = schema["format"].as_str();
    let limit = |key: &str| schema.get(key).and_then(Json::as_f64);
    let whole_limit = |key: &str| limit(key).map(|limit| limit as u64);
    match of_type {
        Some("integer") => ValueKind::Whole {
            least: whole_limit("minimum").unwrap_or(0),
            most: whole_limit("maximum").unwrap_or(match format {
                Some("uint32") => u64::from(u32::MAX),
                _ => i64::MAX as u64,
            }),
            multiple_of: whole_limit("multipleOf").unwrap_or(1),
        },
        Some("number") => ValueKind::Number {
            least: limit("minimum").unwrap_or(f64::MIN),
            most: limit("maximum").unwrap_or(f64::MAX),
        },
        Some("boolean") => ValueKind::Switch,
        Some("string") => match format {
            Some("path") => ValueKind::Path,
            Some("name") => ValueKind::Name,
            _ => ValueKind::Text,
        },
        Some("array") => match schema["items"]["type"].as_str() {
            Some("object") if schema["additionalProperties"].is_object() => ValueKind::Numbers {
                most: schema["additionalProperties"]["maximum"]
                    .as_u64()
                    .unwrap_or(OPEN_END),
            },
            Some("object") => ValueKind::List(members(&schema["items"])),
            Some("string") if format == Some("path") => ValueKind::Paths,
            Some("string") => ValueKind::TextList,
            _ => ValueKind::Size,
        },
        Some("object") if schema["additionalProperties"].is_object() => ValueKind::Numbers {
            most: schema["additionalProperties"]["maximum"]
                .as_u64()
                .unwrap_or(OPEN_END),
        },
        Some("object") => ValueKind::Section(members(schema)),
        _ => unreachable!("the type of key `{name}` is not one that a run.toml has: {schema}"),
    }
}

/// The words of an enumeration, which schemars writes as a list of words without documentation and as constants with it.
fn words(schema: &Json) -> Vec<Word> {
    let plain = schema["enum"].as_array().into_iter().flatten();
    let plain = plain.filter_map(Json::as_str).map(|name| Word {
        name: name.to_owned(),
        documentation: String::new(),
    });
    let documented = schema["oneOf"].as_array().into_iter().flatten();
    let documented = documented.filter_map(|variant| {
        Some(Word {
            name: variant["const"].as_str()?.to_owned(),
            documentation: text(variant, "description"),
        })
    });
    plain.chain(documented).collect()
}

/// A text of the schema, its paragraphs without line breaks.
fn text(schema: &Json, key: &str) -> String {
    let text = schema[key].as_str().unwrap_or_default();
    let paragraphs = text.split("\n\n");
    paragraphs
        .map(|paragraph| {
            paragraph
                .replace("\n- ", "\u{0}- ")
                .replace('\n', " ")
                .replace('\u{0}', "\n")
        })
        .collect::<Vec<_>>()
        .join("\n\n")
}

/// `None` for null, which TOML has not.
fn to_toml(value: &Json) -> Option<Value> {
    Value::try_from(without_nulls(value)).ok()
}

fn without_nulls(value: &Json) -> Json {
    match value {
        Json::Object(members) => {
            let kept = members.iter().filter(|(_, member)| !member.is_null());
            Json::Object(
                kept.map(|(key, member)| (key.clone(), without_nulls(member)))
                    .collect::<Map<_, _>>(),
            )
        }
        Json::Array(items) => Json::Array(items.iter().map(without_nulls).collect()),
        other => other.clone(),
    }
}

fn walk(keys: &[Key], prefix: &str, table: &mut Table, visit: &mut dyn FnMut(&Key, &str, &mut Value)) {
    for (name, value) in table {
        let Some(key) = find(keys, name) else { continue };
        let path = join(prefix, name);
        visit(key, &path, value);
        match value {
            Value::Table(inner) => walk(key.members(), &path, inner, visit),
            Value::Array(items) => {
                for (index, item) in items.iter_mut().enumerate() {
                    if let Value::Table(inner) = item {
                        walk(key.members(), &format!("{path}[{index}]"), inner, visit);
                    }
                }
            }
            _ => {}
        }
    }
}

fn find<'a>(keys: &'a [Key], name: &str) -> Option<&'a Key> {
    keys.iter().find(|key| key.name == name)
}

/// "\"a\", \"b\" or \"c\"".
fn one_of(words: &[Word]) -> String {
    match words.split_last() {
        Some((last, [])) => listed(std::slice::from_ref(last), ""),
        Some((last, others)) => format!("{} or \"{}\"", listed(others, ", "), last.name),
        None => String::new(),
    }
}

fn listed(words: &[Word], separator: &str) -> String {
    let quoted: Vec<String> = words.iter().map(|word| format!("\"{}\"", word.name)).collect();
    quoted.join(separator)
}

fn join(prefix: &str, key: &str) -> String {
    if prefix.is_empty() {
        key.to_owned()
    } else {
        format!("{prefix}.{key}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_has_documentation_and_a_default_an_example_or_a_list_that_requires_it() {
        for (path, key) in Keys::of_run().all() {
            assert!(!key.documentation.is_empty(), "`{path}` has no documentation");
            let section = matches!(key.kind, ValueKind::Section(_));
            let shown = section || key.required || key.default.is_some() || key.example.is_some();
            assert!(shown, "`{path}` has neither default nor example");
        }
    }

    #[test]
    fn kinds_and_ranges_are_those_of_the_structs() {
        let kind = |path| Keys::of_run().get(path).unwrap().kind.clone();
        let wanted = |path| kind(path).wanted();
        assert_eq!(wanted("adapt.batch"), "a whole number of 1 to 65536");
        assert_eq!(wanted("pretrain.crop"), "a whole number of 32 or more");
        assert_eq!(wanted("run.seed"), "a whole number of 0 or more");
        assert_eq!(wanted("simulate.scene_pool"), "a multiple of 8, 8 or more");
        assert_eq!(wanted("simulate.lr_pin"), "a number of 0 or more");
        assert_eq!(wanted("pretrain.jitter.contrast"), "a number of 0 to 1");
        assert_eq!(
            wanted("source.layout"),
            "\"cityscapes\", \"gta5\", \"acdc\" or \"files\""
        );
        assert_eq!(kind("source.centre_crop"), ValueKind::Size);
        assert_eq!(
            kind("source.files.label_values"),
            ValueKind::Numbers { most: 255 }
        );
        assert_eq!(kind("domain.images"), ValueKind::Paths);
        assert_eq!(kind("classes.names"), ValueKind::TextList);
        assert_eq!(kind("simulate.bank"), ValueKind::Path);
        assert_eq!(kind("evaluate.set.name"), ValueKind::Name);
        let set = Keys::of_run().get("evaluate.set").unwrap();
        let required: Vec<&str> = set
            .members()
            .iter()
            .filter(|key| key.required)
            .map(|key| key.name.as_str())
            .collect();
        assert_eq!(required, ["name", "layout", "root"]);
    }

    #[test]
    fn inputs_are_all_paths_but_those_a_run_writes_to() {
        let mut config = RunConfig::default();
        config.pretrain.checkpoint = Some("x".into());
        config.simulate.bank = Some("x".into());
        config.adapt.checkpoint = Some("x".into());
        config.pretrain.continue_from = Some("x".into());
        config.adapt.continue_from = Some("x".into());
        config.domains = vec![super::super::DomainConfig {
            name: "x".parse().unwrap(),
            prompt: "x".into(),
            images: vec!["x".into()],
        }];
        config.evaluate.sets =
            toml::from_str::<RunConfig>("[[evaluate.set]]\nname = \"x\"\nlayout = \"gta5\"\nroot = \"x\"")
                .unwrap()
                .evaluate
                .sets;
        let mut inputs: Vec<String> = config
            .inputs_mut()
            .into_iter()
            .map(|(key, _)| key.replace("[0]", ""))
            .collect();
        inputs.extend(["run.directory", "storage.cache"].map(str::to_owned));
        let mut paths: Vec<String> = Keys::of_run()
            .all()
            .into_iter()
            .filter(|(_, key)| matches!(key.kind, ValueKind::Path | ValueKind::Paths))
            .map(|(path, _)| path)
            .collect();
        inputs.sort();
        paths.sort();
        assert_eq!(inputs, paths);
    }
}
