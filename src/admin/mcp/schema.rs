//! What a tool takes and answers, out of the OpenAPI document: there is one description of each operation.

use serde_json::{Map, Value, json};

/// Where a document of routes keeps its types, and where a schema that stands alone does.
const COMPONENTS: &str = "#/components/schemas/";
const DEFINITIONS: &str = "#/$defs/";

/// One operation of the document.
pub(super) struct Route<'a> {
    document: &'a Value,
    operation: &'a Value,
}

impl<'a> Route<'a> {
    /// Panics if there is no such operation: both sides are in this program, and a test looks at every one.
    pub(super) fn of(document: &'a Value, id: &str) -> Self {
        let paths = document["paths"].as_object().into_iter().flatten();
        let mut operations = paths.flat_map(|(_, item)| item.as_object().into_iter().flat_map(Map::values));
        let operation = operations.find(|operation| operation["operationId"] == id);
        Self { document, operation: operation.expect("a tool is an operation of the document") }
    }

    pub(super) fn title(&self) -> String {
        self.operation["summary"].as_str().unwrap_or_default().to_owned()
    }

    /// The description of the route, or its title where that says it all.
    pub(super) fn description(&self) -> String {
        let text = self.operation["description"].as_str().filter(|text| !text.is_empty());
        text.map_or_else(|| self.title(), |text| text.replace('\n', " "))
    }

    /// Everything a caller of the route gives it, as one object.
    pub(super) fn input(&self) -> Map<String, Value> {
        let (mut properties, mut required) = (Map::new(), Vec::new());
        for parameter in self.operation["parameters"].as_array().into_iter().flatten() {
            let mut schema = parameter["schema"].clone();
            if let Some(description) = parameter.get("description") {
                schema["description"] = description.clone();
            }
            properties.insert(parameter["name"].as_str().unwrap_or_default().to_owned(), schema);
            required.extend(parameter["name"].as_str().filter(|_| parameter["required"] == true));
        }
        let body = self.named(&self.operation["requestBody"]["content"]["application/json"]["schema"]);
        for (name, schema) in body["properties"].as_object().into_iter().flatten() {
            properties.insert(name.clone(), schema.clone());
        }
        required.extend(body["required"].as_array().into_iter().flatten().filter_map(Value::as_str));
        let schema = json!({
            "type": "object", "properties": properties, "required": required, "additionalProperties": false,
        });
        self.alone(schema)
    }

    /// What the route answers when it did what it was asked for.
    pub(super) fn output(&self) -> Map<String, Value> {
        let content = &self.operation["responses"]["200"]["content"]["application/json"];
        let mut schema = self.named(&content["schema"]).clone();
        if let Some(schema) = schema.as_object_mut() {
            // One of an answer with no value for anybody who is given a real one.
            schema.remove("example");
            schema.remove("examples");
        }
        self.alone(schema)
    }

    /// What a reference leads to, also where a body may be left out.
    fn named(&self, schema: &'a Value) -> &'a Value {
        let choices = schema["oneOf"].as_array().into_iter().flatten().chain([schema]);
        let mut names = choices.filter_map(|choice| choice["$ref"].as_str()?.strip_prefix(COMPONENTS));
        names.next().map_or(schema, |name| &self.document["components"]["schemas"][name])
    }

    /// The schema with the types it refers to, directly or not.
    fn alone(&self, mut schema: Value) -> Map<String, Value> {
        let mut definitions = Map::new();
        let mut due = moved(&mut schema);
        while let Some(name) = due.pop() {
            if !definitions.contains_key(&name) {
                let mut definition = self.document["components"]["schemas"][&name].clone();
                due.extend(moved(&mut definition));
                definitions.insert(name, definition);
            }
        }
        if !definitions.is_empty() {
            schema["$defs"] = Value::Object(definitions);
        }
        match schema {
            Value::Object(schema) => schema,
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
                Map::new()
            }
        }
    }
}

/// Points every reference in `value` to where it is in a schema that stands alone; the names of what was referred to.
fn moved(value: &mut Value) -> Vec<String> {
    match value {
        Value::Object(members) => members.iter_mut().flat_map(|(key, value)| match value {
            Value::String(reference) if key == "$ref" => {
                let name = reference.strip_prefix(COMPONENTS).map(str::to_owned);
                if let Some(name) = &name {
                    *reference = format!("{DEFINITIONS}{name}");
                }
                name.into_iter().collect()
            }
            value => moved(value),
        }),
        Value::Array(items) => return items.iter_mut().flat_map(moved).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => return Vec::new(),
    }
    .collect()
}
