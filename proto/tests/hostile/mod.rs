//! Messages in which, in turn, every field holds what nobody would say. The fields come from the description of the .proto
//! file, so that a new one is tried as well. The coordinator's and the worker's tests include this file.

use prost_reflect::{DynamicMessage, FieldDescriptor, Kind, MessageDescriptor, ReflectMessage, Value};

/// More of one thing than any worker has.
const MANY: usize = 20_000;

/// A message in which one field holds what it should not.
pub struct Hostile {
    pub what: String,
    pub message: DynamicMessage,
}

/// What a text holds in a message that is in order.
pub type Texts = fn(&str) -> Option<String>;

/// What a field holds in a message that is in order.
fn in_order(field: &FieldDescriptor, texts: Texts) -> Value {
    let number = match field.name() {
        // No generation was formed yet.
        "generation" => 0,
        _ => 1,
    };
    let one = match field.kind() {
        Kind::String => Value::String(texts(field.name()).unwrap_or_else(|| "x".to_owned())),
        Kind::Bytes => Value::Bytes(vec![1; 32].into()),
        Kind::Bool => Value::Bool(true),
        Kind::Double => Value::F64(1.0),
        // A place in a list of one.
        Kind::Uint32 if field.name() == "shard_owner" => Value::U32(0),
        Kind::Uint32 => Value::U32(1),
        Kind::Int32 => Value::I32(1),
        Kind::Uint64 | Kind::Fixed64 => Value::U64(number),
        Kind::Message(of) => Value::Message(whole(&of, texts).remove(0)),
        other => panic!("say what is hostile in a field of kind {other:?}"),
    };
    match (field.is_list(), field.name()) {
        (true, "confusion") => Value::List(vec![one; 361]),
        (true, _) => Value::List(vec![one]),
        (false, _) => one,
    }
}

/// Messages that are in order: one for each fact or order that the message can carry.
pub fn whole(of: &MessageDescriptor, texts: Texts) -> Vec<DynamicMessage> {
    let mut plain = DynamicMessage::new(of.clone());
    for field in of.fields().filter(|field| field.containing_oneof().is_none()) {
        plain.set_field(&field, in_order(&field, texts));
    }
    let facts = of.fields().filter(|field| field.containing_oneof().is_some());
    let mut messages: Vec<DynamicMessage> = facts
        .map(|fact| {
            let mut message = plain.clone();
            message.set_field(&fact, in_order(&fact, texts));
            message
        })
        .collect();
    if messages.is_empty() {
        messages.push(plain);
    }
    messages
}

fn hostile_values(kind: &Kind) -> Vec<Value> {
    match kind {
        Kind::String => ["", "..", "../../x", "a\0b", "a\nb", &"x".repeat(1 << 20)]
            .map(|text| Value::String(text.to_owned()))
            .to_vec(),
        Kind::Bytes => vec![
            Value::Bytes(Vec::new().into()),
            Value::Bytes(vec![0; 1 << 20].into()),
        ],
        Kind::Bool => vec![Value::Bool(false)],
        Kind::Double => [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 0.0, -1.0, f64::MAX]
            .map(Value::F64)
            .to_vec(),
        Kind::Uint32 => [0, 1 << 31, u32::MAX].map(Value::U32).to_vec(),
        Kind::Int32 => [0, -1, i32::MIN, i32::MAX].map(Value::I32).to_vec(),
        Kind::Uint64 | Kind::Fixed64 => [0, 1 << 63, u64::MAX].map(Value::U64).to_vec(),
        _ => Vec::new(),
    }
}

/// `message` with each of its fields, at any depth, made hostile in turn.
pub fn mutations(message: &DynamicMessage, path: &str, texts: Texts) -> Vec<Hostile> {
    let mut all = Vec::new();
    for field in message
        .descriptor()
        .fields()
        .filter(|field| message.has_field(field))
    {
        let path = format!("{path}.{}", field.name());
        let was = message.get_field(&field).into_owned();
        let mut with = |what: &str, value: Value| {
            let mut message = message.clone();
            message.set_field(&field, value);
            all.push(Hostile {
                what: format!("{path} {what}"),
                message,
            });
        };
        let inner: Vec<(String, Value)> = match field.kind() {
            Kind::Message(of) => {
                let parts = whole(&of, texts)
                    .into_iter()
                    .flat_map(|part| mutations(&part, "", texts));
                parts
                    .map(|part| (part.what, Value::Message(part.message)))
                    .collect()
            }
            kind => hostile_values(&kind)
                .into_iter()
                .map(|value| (format!("= {:.30}", format!("{value:?}")), value))
                .collect(),
        };
        for (what, value) in inner {
            match &was {
                Value::List(items) => {
                    let mut items = items.clone();
                    items[0] = value;
                    with(&what, Value::List(items));
                }
                _ => with(&what, value),
            }
        }
        if let Value::List(items) = &was {
            with("empty", Value::List(Vec::new()));
            with("endless", Value::List(vec![items[0].clone(); MANY]));
        }
    }
    all
}
