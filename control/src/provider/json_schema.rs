//! The JSON Schema of each kind of document, from the table that validates them. What comes later is left out, so that
//! editors mark it as validation does.

use serde_json::{Map, Value, json};

use super::schema::{Field, KINDS, Kind, Need, Shape};
use crate::catalog::{FieldKind, FieldSpec, SchemeSpec};
use crate::model::VENDORS;
use crate::types;

/// The kinds that have a schema.
pub fn kinds() -> impl Iterator<Item = &'static str> {
    KINDS.iter().map(|kind| kind.name)
}

/// The JSON Schema (draft 2020-12) of a kind, by name without regard to case.
pub fn json_schema(kind: &str, schemes: &[&SchemeSpec]) -> Option<Value> {
    let kind = KINDS.iter().find(|known| known.name.eq_ignore_ascii_case(kind))?;
    let mut schema = map(kind.fields, &[], schemes);
    put(&mut schema, "", "$schema", json!("https://json-schema.org/draft/2020-12/schema"));
    put(&mut schema, "", "title", json!(kind.name));
    put(&mut schema, "", "description", json!(kind.doc));
    pin(&mut schema, kind);
    Some(schema)
}

/// What only the head of a document says.
fn pin(schema: &mut Value, kind: &Kind) {
    put(schema, "/properties/apiVersion", "enum", json!(kind.api_versions));
    put(schema, "/properties/kind", "const", json!(kind.name));
    if kind.name == "Provider" {
        let names: Vec<&str> = types::ALL.iter().map(|kind| kind.name).collect();
        put(schema, "/properties/spec/properties/type", "enum", json!(names));
    }
    if kind.name == "ModelProvider" {
        let names: Vec<&str> = VENDORS.iter().map(|vendor| vendor.name).collect();
        put(schema, "/properties/spec/properties/provider", "enum", json!(names));
    }
}

/// Sets a key of the object at a JSON pointer.
fn put(schema: &mut Value, pointer: &str, key: &str, value: Value) {
    if let Some(object) = schema.pointer_mut(pointer).and_then(Value::as_object_mut) {
        object.insert(key.to_owned(), value);
    }
}

fn of(shape: Shape, schemes: &[&SchemeSpec]) -> Value {
    match shape {
        Shape::Text => json!({"type": "string"}),
        Shape::Bool => json!({"type": "boolean"}),
        Shape::Count => json!({"type": "integer", "minimum": 1}),
        Shape::Choice(words) => json!({"enum": words}),
        Shape::List(inner) => json!({"type": "array", "items": of(*inner, schemes)}),
        Shape::Map(fields) => map(fields, &[], schemes),
        Shape::Named(inner) => {
            let mut inner = of(*inner, schemes);
            if let Some(kind) = inner.get("type").cloned() {
                put(&mut inner, "", "type", json!([kind, "null"]));
            }
            json!({"type": "object", "additionalProperties": inner})
        }
        Shape::Auth(fields) => {
            let extra: Vec<(&str, Value)> = schemes
                .iter()
                .flat_map(|scheme| scheme.auth_fields)
                .map(|field| (field.name, scheme_field(field)))
                .collect();
            map(fields, &extra, schemes)
        }
        Shape::Inject(fields) => map(fields, &inject(schemes), schemes),
    }
}

fn map(fields: &[Field], extra: &[(&str, Value)], schemes: &[&SchemeSpec]) -> Value {
    let mut properties = Map::new();
    for field in fields.iter().filter(|field| field.need != Need::Later) {
        let mut property = of(field.shape, schemes);
        put(&mut property, "", "description", json!(field.doc));
        properties.insert(field.name.to_owned(), property);
    }
    for (name, property) in extra {
        properties.entry((*name).to_owned()).or_insert_with(|| property.clone());
    }
    let required: Vec<&str> =
        fields.iter().filter(|field| field.need == Need::Required).map(|field| field.name).collect();
    json!({"type": "object", "properties": properties, "required": required, "additionalProperties": false})
}

fn scheme_field(field: &FieldSpec) -> Value {
    let mut property = match field.kind {
        FieldKind::Headers => json!({"type": "object", "additionalProperties": {"type": "string"}}),
        FieldKind::Spots | FieldKind::Labels | FieldKind::Keys | FieldKind::Scopes => {
            json!({"type": ["array", "string"], "items": {"type": "string"}})
        }
        FieldKind::TokenUrl | FieldKind::TokenService => json!({"type": "string", "pattern": "^https://"}),
        FieldKind::Choice(words) => json!({"type": "string", "enum": words}),
        FieldKind::Seconds(least, most) => json!({"type": "integer", "minimum": least, "maximum": most}),
        FieldKind::JsonPointer | FieldKind::PathTemplate | FieldKind::File => {
            json!({"type": "string", "pattern": "^/"})
        }
        FieldKind::Text
        | FieldKind::RoleArn
        | FieldKind::ExternalId
        | FieldKind::ServiceName
        | FieldKind::HeaderName
        | FieldKind::Template
        | FieldKind::Message
        | FieldKind::ParamName
        | FieldKind::CookieName => {
            json!({"type": "string"})
        }
    };
    put(&mut property, "", "description", json!(field.doc));
    if let Some(default) = field.default {
        put(&mut property, "", "default", json!(default));
    }
    property
}

/// The keys of an `inject` entry: each scheme's own, as a map or as its first field, and the other fields as siblings.
fn inject(schemes: &[&SchemeSpec]) -> Vec<(&'static str, Value)> {
    let mut keys = Vec::new();
    for scheme in schemes {
        let Some(key) = scheme.inject_key else { continue };
        let properties: Map<String, Value> =
            scheme.inject_fields.iter().map(|field| (field.name.to_owned(), scheme_field(field))).collect();
        let required: Vec<&str> =
            scheme.inject_fields.iter().filter(|field| field.required).map(|field| field.name).collect();
        let whole = json!({"type": "object", "properties": properties, "required": required, "additionalProperties": false});
        let first = scheme.inject_fields.first().map(scheme_field);
        let forms: Vec<Value> = std::iter::once(whole).chain(first).collect();
        keys.push((key, json!({"description": scheme.summary, "anyOf": forms})));
        keys.extend(scheme.inject_fields.iter().skip(1).map(|field| (field.name, scheme_field(field))));
    }
    keys
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::testing::SCHEMES;

    /// As much of a validator as our schemas need.
    fn is_valid(value: &Value, schema: &Value) -> bool {
        if let Some(forms) = schema.get("anyOf").and_then(Value::as_array) {
            return forms.iter().any(|form| is_valid(value, form));
        }
        if let Some(words) = schema.get("enum").and_then(Value::as_array) {
            return words.contains(value);
        }
        if schema.get("const").is_some_and(|word| word != value) {
            return false;
        }
        let kind = match value {
            Value::Null => "null",
            Value::Bool(_) => "boolean",
            Value::Number(_) => "integer",
            Value::String(_) => "string",
            Value::Array(_) => "array",
            Value::Object(_) => "object",
        };
        let wanted = &schema["type"];
        if wanted != kind && !wanted.as_array().is_some_and(|kinds| kinds.contains(&json!(kind))) {
            return false;
        }
        match value {
            Value::Array(items) => items.iter().all(|item| is_valid(item, &schema["items"])),
            Value::Object(entries) => {
                let known = |key: &str| {
                    schema["properties"]
                        .get(key)
                        .or_else(|| schema.get("additionalProperties").filter(|rest| rest.is_object()))
                };
                let required =
                    schema.get("required").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
                required.iter().all(|key| entries.contains_key(key.as_str().unwrap()))
                    && entries
                        .iter()
                        .all(|(key, value)| known(key).is_some_and(|schema| is_valid(value, schema)))
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => true,
        }
    }

    fn provider(spec: &Value) -> Value {
        json!({"apiVersion": "pai.io/v1", "kind": "Provider", "metadata": {"name": "a"}, "spec": spec})
    }

    #[test]
    fn refuses_and_accepts_what_the_loader_refuses_and_accepts() {
        let schema = json_schema("provider", SCHEMES).unwrap();
        for (spec, valid) in [
            (json!({"type": "githb"}), false),
            (json!({"host": "a.com"}), false),
            (json!({"type": "github", "hostz": []}), false),
            (json!({"type": "aws", "config": {"assumeRole": {"externalId": "x"}}}), false),
            (json!({"type": "github", "config": {"regoin": "x"}}), false),
            (json!({"type": "github", "auth": {"type": "pat"}}), false),
            (json!({"type": "github", "auth": {"secretRef": {"name": "x"}}}), false),
            (json!({"type": "github", "auth": {"secretRef": "s", "appId": "x"}}), false),
            (
                json!({"type": "github", "auth": {"secretRef": "s", "inject": [{"query": {"nme": "k"}}]}}),
                false,
            ),
            (json!({"type": "github", "limits": {"requestsPerMinute": "9"}}), false),
            (json!({"type": "github", "tls": {"clientCert": {}}}), false),
            (json!({"type": "github"}), true),
            (
                json!({"type": "http-token", "host": "a.example", "auth": {"secretRef": "s", "param": "k"}}),
                true,
            ),
            (
                json!({"type": "github", "auth": {"secretRef": "s", "agentEnv": {"X": null, "Y": {"placeholder": "ghp_{rand:36}"}}}}),
                true,
            ),
            (
                json!({"type": "github", "auth": {"secretRef": "s", "inject": [{"hosts": ["github.com"], "header": "X", "template": "{{token}}"}, {"query": {"name": "k"}}, {"placeholder": {"in": ["path"]}}]}}),
                true,
            ),
            (
                json!({"type": "github", "policy": {"httpRules": [{"methods": ["GET"], "paths": ["/**"], "effect": "allow"}], "allow": ["*"]}}),
                true,
            ),
        ] {
            let document = provider(&spec);
            let loads = crate::provider::parse_text("f.json", &document.to_string(), SCHEMES).is_ok();
            assert_eq!((is_valid(&document, &schema), loads), (valid, valid), "{spec}");
        }
    }

    #[test]
    fn every_kind_has_a_schema() {
        for kind in kinds() {
            assert_eq!(json_schema(kind, SCHEMES).unwrap()["properties"]["kind"]["const"], kind);
        }
        assert!(json_schema("Secret", SCHEMES).is_none());
    }
}
