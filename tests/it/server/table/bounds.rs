//! Every field of every body has a bound: the description says it, and what is past it is refused by the field's name, with the
//! value in no answer and no log.

use harness::canary;
use serde_json::{Value, json};

use super::world::World;
use super::{Row, description, rows};

/// A field, and a body in which that one is past its bound.
type Past = (String, Value);

/// A text of this length that is made of the canary.
fn long(canary: &str, length: u64) -> String {
    canary.chars().cycle().take(usize::try_from(length).unwrap()).collect()
}

fn bound(schema: &Value, keyword: &str, field: &str) -> u64 {
    schema[keyword].as_u64().unwrap_or_else(|| panic!("`{field}` has no {keyword}: {schema}"))
}

/// What goes past each bound of a field, in its place.
fn beyond(schema: &Value, field: &str, canary: &str) -> Vec<Value> {
    let kinds = match &schema["type"] {
        Value::Array(kinds) => kinds.clone(),
        kind => vec![kind.clone()],
    };
    let is = |kind: &str| kinds.iter().any(|one| one == kind);
    if is("string") {
        return vec![long(canary, bound(schema, "maxLength", field) + 1).into()];
    }
    if is("integer") || is("number") {
        return vec![json!(bound(schema, "maximum", field) + 1)];
    }
    if is("array") {
        let many: Vec<_> =
            (0..=bound(schema, "maxItems", field)).map(|n| json!(format!("{canary}{n}"))).collect();
        let each = beyond(&schema["items"], field, canary);
        return each.into_iter().map(|item| json!([item])).chain([many.into()]).collect();
    }
    if is("object") {
        let map =
            |all: Vec<(String, String)>| all.into_iter().map(|(key, value)| (key, value.into())).collect();
        let (keys, values) = (&schema["propertyNames"], &schema["additionalProperties"]);
        let many = (0..=bound(schema, "maxProperties", field)).map(|n| (format!("k{n}"), canary.to_owned()));
        return vec![
            Value::Object(map(many.collect())),
            Value::Object(map(vec![(long(canary, bound(keys, "maxLength", field) + 1), canary.to_owned())])),
            Value::Object(map(vec![(
                "token".to_owned(),
                long(canary, bound(values, "maxLength", field) + 1),
            )])),
        ];
    }
    assert!(is("boolean"), "`{field}`: {schema}");
    Vec::new()
}

fn past(schema: &Value, good: &Value, canary: &str) -> Vec<Past> {
    let mut all = Vec::new();
    for (field, property) in schema["properties"].as_object().into_iter().flatten() {
        // One of a few words: any other is a body that does not fit.
        if property.get("$ref").is_some() {
            continue;
        }
        for value in beyond(property, field, canary) {
            let mut body = good.clone();
            body[field] = value;
            all.push((field.clone(), body));
        }
    }
    all
}

/// A body that fits; a login has none in its row.
fn good(row: &Row, name: &str) -> Value {
    let login = || {
        let text = "n".repeat(43);
        let back = "http://127.0.0.1:40000/callback";
        json!({"code": "c", "verifier": text, "nonce": text, "redirectUri": back})
    };
    row.body.map_or_else(login, |body| body(name))
}

#[tokio::test]
async fn dw6016_what_is_past_the_bound_of_a_field_is_refused_by_its_name_and_never_quoted() {
    let (world, description) = (World::on(None).await, description());
    let mut tried = 0;
    for row in rows() {
        let operation = &description["paths"][row.path][row.method.to_lowercase()];
        let Some(schema) = operation["requestBody"]["content"]["application/json"]["schema"]["$ref"].as_str()
        else {
            assert!(row.body.is_none(), "{} {} takes a body of no kind", row.method, row.path);
            continue;
        };
        let schema = &description["components"]["schemas"][schema.rsplit('/').next().unwrap()];
        assert_eq!(schema["additionalProperties"], false, "{} {}", row.method, row.path);
        let (path, etag, name) = world.place(&row).await;
        let path = path.replace("{ask}", "none");
        let value = world.server.canary();
        for (field, body) in past(schema, &good(&row, &name), &value) {
            let answer = world.call(&row, &path, &row.seen(&etag), Some(&body)).await;
            let text = String::from_utf8_lossy(&answer.body).into_owned();
            let what =
                format!("{} {path} `{field}`: {}", row.method, text.chars().take(500).collect::<String>());
            assert_eq!((answer.status, answer.code().as_str()), (422, "DW6016"), "{what}");
            assert!(text.contains(&format!("`{field}`")), "{what}");
            assert_eq!(canary::search(text.as_bytes(), &value), None, "{what}");
            tried += 1;
        }
    }
    assert!(tried > 50, "{tried}");
}

#[tokio::test]
async fn what_is_as_long_as_its_bound_is_taken() {
    let (world, description) = (World::on(None).await, description());
    let mut tried = 0;
    for row in rows() {
        let operation = &description["paths"][row.path][row.method.to_lowercase()];
        let schema = operation["requestBody"]["content"]["application/json"]["schema"]["$ref"].as_str();
        let Some(schema) = schema.and_then(|schema| schema.rsplit('/').next()) else { continue };
        // Of the others not every text fits.
        for field in ["description", "value"] {
            let Some(most) =
                description["components"]["schemas"][schema]["properties"][field]["maxLength"].as_u64()
            else {
                continue;
            };
            let (path, etag, name) = world.place(&row).await;
            let mut body = good(&row, &name);
            body[field] = long("x", most).into();
            let answer = world.call(&row, &path, &row.seen(&etag), Some(&body)).await;
            assert_eq!(answer.status, row.status, "{} {path} `{field}`: {}", row.method, answer.code());
            tried += 1;
        }
    }
    assert!(tried >= 6, "{tried}");
}
