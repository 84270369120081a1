//! Bencode as JSON.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value as Json;
use swarmloop::proto::bencode::Value;

use crate::cli::json::escape;

/// Returns a value as JSON in one line, dictionaries in their own order, repeated keys as often as
/// they are there.
///
/// Strings that are not UTF-8 become `{"base64":"..."}`; keys that are not, `base64:...`. Safe to
/// print.
pub(super) fn json(value: Value<'_, '_>) -> String {
    let mut out = String::new();
    write(value, &mut out);
    let mut escaped = String::with_capacity(out.len());
    escape(&out, &mut escaped);
    escaped
}

/// Recursion is as deep as the decoder lets values be in each other.
fn write(value: Value<'_, '_>, out: &mut String) {
    if let Some(number) = value.as_int() {
        out.push_str(&number.to_string());
    } else if let Some(bytes) = value.as_bytes() {
        match std::str::from_utf8(bytes) {
            Ok(text) => push_text(text, out),
            Err(_) => out.extend(["{\"base64\":\"", &STANDARD.encode(bytes), "\"}"]),
        }
    } else if let Some(items) = value.as_list() {
        out.push('[');
        for (number, item) in items.enumerate() {
            if number > 0 {
                out.push(',');
            }
            write(item, out);
        }
        out.push(']');
    } else if let Some(dict) = value.as_dict() {
        out.push('{');
        for (number, (key, item)) in dict.entries().enumerate() {
            if number > 0 {
                out.push(',');
            }
            match std::str::from_utf8(key) {
                Ok(key) => push_text(key, out),
                Err(_) => out.extend(["\"base64:", &STANDARD.encode(key), "\""]),
            }
            out.push(':');
            write(item, out);
        }
        out.push('}');
    }
}

fn push_text(text: &str, out: &mut String) {
    out.push_str(&Json::from(text).to_string());
}

#[cfg(test)]
mod tests {
    use swarmloop::proto::bencode::{Limits, decode};

    use super::*;

    #[test]
    fn every_kind_of_value_has_its_own() {
        for (bencode, expected) in [
            (&b"i-3e"[..], "-3"),
            (b"5:a\"\n\x1bb", r#""a\"\n\u001bb""#),
            ("3:\u{200b}".as_bytes(), r#""\u200b""#),
            (b"2:\xff\xfe", r#"{"base64":"//4="}"#),
            (b"le", "[]"),
            (b"d1:bi1e1:al1:xi2ee1:bde1:\xff0:e", r#"{"b":1,"a":["x",2],"b":{},"base64:/w==":""}"#),
        ] {
            let tree = decode(bencode, &Limits::METAINFO).expect("bencode");
            let json = json(tree.root());
            assert_eq!(json, expected);
            assert!(serde_json::from_str::<Json>(&json).is_ok());
        }
    }
}
