//! Putting an OpenAPI 3.1 document together from operations described by value.
//!
//! The record routes are generic, and an attribute on a generic handler cannot name its type parameter; so operations are
//! values here, made from the same definitions as the routes.

use serde_json::{Map, Value, json};

/// A document in the making.
#[derive(Debug, Default)]
pub struct Document {
    paths: Map<String, Value>,
    schemas: Map<String, Value>,
}

/// One operation.
#[derive(Debug)]
pub struct Operation {
    id: String,
    tag: String,
    summary: String,
    parameters: Vec<Value>,
    body: Option<Value>,
    responses: Map<String, Value>,
}

/// `{"$ref": …}` to a schema of the document.
#[must_use]
pub fn reference(schema: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{schema}") })
}

/// A query parameter.
#[must_use]
pub fn query(name: &str, description: &str, schema: Value) -> Value {
    json!({ "name": name, "in": "query", "description": description, "schema": schema })
}

/// A request header.
#[must_use]
pub fn header(name: &str, description: &str) -> Value {
    json!({ "name": name, "in": "header", "description": description, "schema": { "type": "string" } })
}

/// The id in the path.
#[must_use]
pub fn path_id() -> Value {
    json!({ "name": "id", "in": "path", "required": true, "schema": { "type": "string", "format": "uuid" } })
}

/// The tenant a superadmin acts in.
#[must_use]
pub fn tenant_id() -> Value {
    query(
        "tenant_id",
        "The tenant; a superadmin must name one, everybody else may only repeat its own.",
        json!({ "type": "string", "format": "uuid" }),
    )
}

/// The envelope of success around `data`.
#[must_use]
pub fn envelope(data: Value) -> Value {
    json!({
        "type": "object",
        "required": ["status", "data"],
        "properties": { "status": { "type": "string", "enum": ["success"] }, "data": data }
    })
}

impl Operation {
    /// An operation; `id` is `<resource>_<verb>`.
    pub fn new(id: impl Into<String>, tag: &str, summary: impl Into<String>) -> Self {
        Self {
            id: id.into(),
            tag: tag.to_owned(),
            summary: summary.into(),
            parameters: Vec::new(),
            body: None,
            responses: Map::new(),
        }
    }

    /// Adds parameters.
    #[must_use]
    pub fn parameters(mut self, parameters: impl IntoIterator<Item = Value>) -> Self {
        self.parameters.extend(parameters);
        self
    }

    /// Takes JSON.
    #[must_use]
    pub fn json_body(self, schema: Value) -> Self {
        self.body("application/json", schema)
    }

    /// Takes a body of another type.
    #[must_use]
    pub fn body(mut self, media_type: &str, schema: Value) -> Self {
        self.body = Some(json!({ "required": true, "content": { media_type: { "schema": schema } } }));
        self
    }

    /// Answers with `data` in the envelope.
    #[must_use]
    pub fn answers(self, status: u16, description: &str, data: Value) -> Self {
        self.answers_as(status, description, "application/json", envelope(data))
    }

    /// Answers with another media type.
    #[must_use]
    pub fn answers_as(mut self, status: u16, description: &str, media_type: &str, schema: Value) -> Self {
        let response = json!({ "description": description, "content": { media_type: { "schema": schema } } });
        self.responses.insert(status.to_string(), response);
        self
    }

    fn build(mut self) -> Value {
        self.responses.insert("default".into(), json!({ "$ref": "#/components/responses/Error" }));
        let mut out = json!({
            "operationId": self.id,
            "tags": [self.tag],
            "summary": self.summary,
            "responses": self.responses,
            "security": [{ "bearerAuth": [] }, { "apiKeyAuth": [] }]
        });
        if let Some(map) = out.as_object_mut() {
            if !self.parameters.is_empty() {
                map.insert("parameters".into(), self.parameters.into());
            }
            if let Some(body) = self.body {
                map.insert("requestBody".into(), body);
            }
        }
        out
    }
}

impl Document {
    /// Adds an operation. `method` is lower case.
    pub fn operation(&mut self, method: &str, path: &str, operation: Operation) {
        let item = self.paths.entry(path.to_owned()).or_insert_with(|| json!({}));
        if let Some(item) = item.as_object_mut() {
            item.insert(method.to_owned(), operation.build());
        }
    }

    /// Adds a schema.
    pub fn schema(&mut self, name: &str, schema: Value) {
        self.schemas.insert(name.to_owned(), schema);
    }

    /// The document with sorted keys.
    #[must_use]
    pub fn to_json(mut self, title: &str, description: &str) -> String {
        self.schema(
            "Error",
            json!({
                "type": "object",
                "required": ["status", "code", "message", "details", "request_id"],
                "properties": {
                    "status": { "type": "string", "enum": ["error"] },
                    "code": {
                        "type": "string",
                        "enum": aisha_kernel::ErrorCode::ALL.iter().map(|c| c.as_str()).collect::<Vec<_>>()
                    },
                    "message": { "type": "string" },
                    "details": {
                        "type": "array",
                        "items": {
                            "type": "object",
                            "required": ["field", "message"],
                            "properties": { "field": { "type": "string" }, "message": { "type": "string" } }
                        }
                    },
                    "conflicts": {
                        "type": "array",
                        "description": "Records in the way, with 409 only; id and name are null for those that the caller may not see.",
                        "items": {
                            "type": "object",
                            "required": ["type", "id", "name", "what"],
                            "properties": {
                                "type": { "type": "string" },
                                "id": { "type": ["string", "null"], "format": "uuid" },
                                "name": { "type": ["string", "null"] },
                                "what": { "type": "string" }
                            }
                        }
                    },
                    "request_id": { "type": "string" },
                    "retryAfter": { "type": "integer", "description": "Seconds; with 429 only." }
                }
            }),
        );
        let document = json!({
            "openapi": "3.1.0",
            "info": { "title": title, "description": description, "version": env!("CARGO_PKG_VERSION") },
            "paths": self.paths,
            "components": {
                "schemas": self.schemas,
                "responses": {
                    "Error": {
                        "description": "What went wrong; `code` is stable, `details` names fields.",
                        "content": { "application/json": { "schema": reference("Error") } }
                    }
                },
                "securitySchemes": {
                    "bearerAuth": { "type": "http", "scheme": "bearer", "bearerFormat": "JWT" },
                    "apiKeyAuth": { "type": "apiKey", "in": "header", "name": "X-API-Key" }
                }
            }
        });
        serde_json::to_string_pretty(&document).unwrap_or_default()
    }
}
