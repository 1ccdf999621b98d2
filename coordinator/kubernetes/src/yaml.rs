//! JSON values as YAML that any YAML reader takes for the same values.
//!
//! Strings are plain only where no version of YAML sees anything else in them; longer texts are block literals.

use std::fmt::Write;

use serde_json::Value;

/// One document, without the `---` before it; keys are sorted.
#[must_use]
pub fn to_yaml(value: &Value) -> String {
    let mut value = value.clone();
    value.sort_all_objects();
    let mut text = String::new();
    match &value {
        Value::Object(map) if !map.is_empty() => object(&mut text, map, 0),
        Value::Array(items) if !items.is_empty() => array(&mut text, items, 0),
        scalar => {
            inline(&mut text, scalar, 0);
            text.push('\n');
        }
    }
    text
}

fn object(text: &mut String, map: &serde_json::Map<String, Value>, indent: usize) {
    for (index, (key, value)) in map.iter().enumerate() {
        if index > 0 {
            pad(text, indent);
        }
        string(text, key);
        text.push(':');
        below(text, value, indent);
    }
}

/// What stands behind a key.
fn below(text: &mut String, value: &Value, indent: usize) {
    match value {
        Value::Object(map) if !map.is_empty() => {
            text.push('\n');
            pad(text, indent + 2);
            object(text, map, indent + 2);
        }
        Value::Array(items) if !items.is_empty() => {
            text.push('\n');
            pad(text, indent);
            array(text, items, indent);
        }
        scalar => {
            text.push(' ');
            inline(text, scalar, indent);
            if !text.ends_with('\n') {
                text.push('\n');
            }
        }
    }
}

fn array(text: &mut String, items: &[Value], indent: usize) {
    for (index, item) in items.iter().enumerate() {
        if index > 0 {
            pad(text, indent);
        }
        text.push_str("- ");
        match item {
            Value::Object(map) if !map.is_empty() => object(text, map, indent + 2),
            Value::Array(items) if !items.is_empty() => array(text, items, indent + 2),
            scalar => {
                inline(text, scalar, indent);
                if !text.ends_with('\n') {
                    text.push('\n');
                }
            }
        }
    }
}

fn inline(text: &mut String, value: &Value, indent: usize) {
    match value {
        Value::String(held) if is_block(held) => block(text, held, indent + 2),
        Value::String(held) => string(text, held),
        // Numbers, true, false, null, {} and [] are written alike.
        other => {
            let _ = write!(text, "{other}");
        }
    }
}

/// Several lines that a block literal can hold as they are.
fn is_block(text: &str) -> bool {
    let printable = |c: char| c == '\n' || !c.is_control();
    text.contains('\n')
        && text.ends_with('\n')
        && !text.ends_with("\n\n")
        && !text.starts_with([' ', '\n'])
        && text.chars().all(printable)
        && text.lines().all(|line| !line.ends_with(' '))
}

fn block(text: &mut String, held: &str, indent: usize) {
    text.push_str("|\n");
    for line in held.lines() {
        if !line.is_empty() {
            pad(text, indent);
            text.push_str(line);
        }
        text.push('\n');
    }
}

fn string(text: &mut String, held: &str) {
    if is_plain(held) {
        text.push_str(held);
    } else {
        let _ = write!(text, "{}", Value::String(held.to_owned()));
    }
}

/// Whether nobody reads anything but this text.
fn is_plain(text: &str) -> bool {
    let Some(first) = text.chars().next() else {
        return false;
    };
    let keyword = ["true", "false", "yes", "no", "on", "off", "null", "y", "n"]
        .iter()
        .any(|word| text.eq_ignore_ascii_case(word));
    let safe = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '/');
    (first.is_ascii_alphabetic() || first == '/') && text.chars().all(safe) && !keyword
}

fn pad(text: &mut String, indent: usize) {
    text.extend(std::iter::repeat_n(' ', indent));
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn shapes_and_doubtful_strings() {
        let value = json!({
            "a": {"b": [1, {"c": true, "d": []}, ["x"]], "empty": {}},
            "text": "line\n\n  two\n",
            "quoted": ["no", "1e3", "1", "a: b", "", "--x=$(Y)", "0.0.0.0:1", "trailing \nx\n", "Yes"],
            "plain": "ulda/coordinator",
        });
        assert_eq!(
            to_yaml(&value),
            "a:\n  b:\n  - 1\n  - c: true\n    d: []\n  - - x\n  empty: {}\n\
             plain: ulda/coordinator\n\
             quoted:\n- \"no\"\n- \"1e3\"\n- \"1\"\n- \"a: b\"\n- \"\"\n- \"--x=$(Y)\"\n- \"0.0.0.0:1\"\n\
             - \"trailing \\nx\\n\"\n- \"Yes\"\n\
             text: |\n  line\n\n    two\n"
        );
        assert_eq!(to_yaml(&json!([])), "[]\n");
    }
}
