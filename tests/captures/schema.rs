//! Every result keeps the JSON contract, `reports/schema/pcapdoc-1.schema.json`.

use std::path::Path;

use libtest_mimic::Trial;
use serde_json::{Value, json};

use crate::{Lab, case};

fn schema() -> Value {
    serde_json::from_str(reports::render::json::SCHEMA).expect("JSON")
}

pub fn complaints(lab: &Lab) -> Vec<String> {
    let schema = schema();
    faults(&crate::json(&lab.analysed()), &schema, &schema, "")
}

/// That the check itself sees what is wrong.
pub fn sees_faults() -> Trial {
    case("schema_itself", Path::new("wrong.json"), || {
        let schema = schema();
        let wrong = json!({"schema_version": -1, "findings": [{"severity": "awful"}]});
        let seen = faults(&wrong, &schema, &schema, "").join("\n");
        let due = [
            "/schema_version: below",
            "/findings/0/severity: ",
            ": no capture",
        ];
        let unseen = due.into_iter().filter(|fault| !seen.contains(fault));
        unseen
            .map(|fault| format!("{fault} was not seen:\n{seen}"))
            .collect()
    })
}

/// What in `value` breaks `schema`: the part of JSON Schema that our types give, and a panic at
/// any other keyword. (Validating libraries turn on features of crates that they share with
/// polars, and the program would have to be built twice.)
fn faults(value: &Value, schema: &Value, root: &Value, at: &str) -> Vec<String> {
    let Some(keywords) = schema.as_object() else {
        assert_eq!(schema, &Value::Bool(true), "a schema at {at}");
        return Vec::new();
    };
    let mut found = Vec::new();
    let number = |limit: &Value| limit.as_f64().expect("a number");
    for (keyword, wanted) in keywords {
        match keyword.as_str() {
            "$schema" | "$defs" | "title" | "description" | "format" => {}
            "$ref" => {
                let name = wanted.as_str().and_then(|name| name.strip_prefix('#'));
                let target = root.pointer(name.expect("a local reference"));
                found.extend(faults(value, target.expect("a definition"), root, at));
            }
            "anyOf" | "oneOf" => {
                let mut choices = wanted.as_array().expect("schemas").iter();
                if !choices.any(|choice| faults(value, choice, root, at).is_empty()) {
                    found.push(format!("{at}: none of the choices"));
                }
            }
            "type" => {
                let kind = match value {
                    Value::Null => "null",
                    Value::Bool(_) => "boolean",
                    Value::Number(number) if number.is_f64() => "number",
                    Value::Number(_) => "integer",
                    Value::String(_) => "string",
                    Value::Array(_) => "array",
                    Value::Object(_) => "object",
                };
                let fits = |name: &Value| name == kind || (name == "number" && kind == "integer");
                if !wanted
                    .as_array()
                    .map_or_else(|| fits(wanted), |all| all.iter().any(fits))
                {
                    found.push(format!("{at}: {kind}, not {wanted}"));
                }
            }
            "const" if value != wanted => found.push(format!("{at}: not {wanted}")),
            "enum" if !wanted.as_array().expect("values").contains(value) => {
                found.push(format!("{at}: not one of {wanted}"));
            }
            "const" | "enum" => {}
            "minimum" if value.as_f64().is_some_and(|value| value < number(wanted)) => {
                found.push(format!("{at}: below {wanted}"));
            }
            "maximum" if value.as_f64().is_some_and(|value| value > number(wanted)) => {
                found.push(format!("{at}: above {wanted}"));
            }
            "minimum" | "maximum" => {}
            "required" => {
                let names = wanted.as_array().expect("names").iter().map(Value::as_str);
                let missing = names.flatten().filter(|name| value.get(name).is_none());
                found.extend(missing.map(|name| format!("{at}: no {name}")));
            }
            "properties" => {
                for (name, schema) in wanted.as_object().expect("schemas") {
                    if let Some(inner) = value.get(name) {
                        found.extend(faults(inner, schema, root, &format!("{at}/{name}")));
                    }
                }
            }
            "items" => {
                for (index, inner) in value.as_array().into_iter().flatten().enumerate() {
                    found.extend(faults(inner, wanted, root, &format!("{at}/{index}")));
                }
            }
            "prefixItems" => {
                let wanted = wanted.as_array().expect("schemas").iter().enumerate();
                for (index, schema) in wanted {
                    if let Some(inner) = value.get(index) {
                        found.extend(faults(inner, schema, root, &format!("{at}/{index}")));
                    }
                }
            }
            "minItems" | "maxItems" => {
                let count = value.as_array().map_or(0, Vec::len) as f64;
                let limit = number(wanted);
                let fits = if keyword == "minItems" {
                    count >= limit
                } else {
                    count <= limit
                };
                if value.is_array() && !fits {
                    found.push(format!("{at}: {count} items, {keyword} {limit}"));
                }
            }
            "default" => {}
            "additionalProperties" => assert_eq!(wanted, &Value::Bool(true), "{at}"),
            unknown => panic!("{unknown} at {at} is not checked yet"),
        }
    }
    found
}
