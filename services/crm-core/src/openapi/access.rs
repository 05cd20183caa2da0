//! Modules, custom permissions, roles and settings of the platform in the API document.

use super::{integer, listed, object, paging, shown, with};
use aisha_auth::{module::MODULES, permission::GRANTABLE};
use aisha_http::openapi::{Document, Operation, path_id, query, reference, tenant_id};
use aisha_tenancy::{module, permission};
use serde_json::{Value, json};

/// Adds schemas and operations.
pub(super) fn describe(doc: &mut Document) {
    modules(doc);
    permissions(doc);
    roles(doc);
    system_settings(doc);
}

fn named(name: &str, description: &str) -> Value {
    json!({ "name": name, "in": "path", "required": true, "description": description, "schema": { "type": "string" } })
}

fn removed(key: &str) -> Value {
    json!({ "type": "object", "properties": { key: { "type": "string" } } })
}

fn total(schema: &str, key: &str) -> Value {
    json!({
        "type": "object",
        "required": [key, "total"],
        "properties": { key: { "type": "array", "items": reference(schema) }, "total": integer() }
    })
}

fn modules(doc: &mut Document) {
    let names: Vec<&str> = MODULES.iter().map(|m| m.name).collect();
    let body = |required: bool| {
        let mut schema = object(&module::FIELDS, required);
        if let Some(name) = schema.pointer_mut("/properties/module_name").and_then(Value::as_object_mut) {
            name.insert("enum".into(), json!(names));
        }
        if let Some(settings) = schema.pointer_mut("/properties/settings").and_then(Value::as_object_mut) {
            let stages = "For opportunities: stages, a list of names or of {name, label, probability, outcome}.";
            settings.insert("description".into(), format!("Replaced as a whole. {stages}").into());
        }
        schema
    };
    doc.schema("ModuleSetting", with(body(false), shown()));
    doc.schema("NewModuleSetting", body(true));
    doc.schema("ModuleSettingPatch", body(false));
    let op = |verb: &str, summary: &str| Operation::new(format!("module_setting_{verb}"), "modulesettings", summary);
    let which = query("module_name", "Only this module.", json!({ "type": "string", "enum": names }));
    let state = json!({ "type": "object", "properties": {
        "module_name": { "type": "string" }, "label": { "type": "string" }, "is_enabled": { "type": "boolean" }
    } });
    let page = with(
        total("ModuleSetting", "modulesettings"),
        json!({ "modules": { "type": "array", "description": "Every module; on without a setting.", "items": state } }),
    );
    let list = op("list", "List the tenant's module settings, and all modules").parameters([tenant_id(), which]);
    doc.operation("get", "/api/modulesettings", list.answers(200, "All of them.", page));
    let upsert = op("set", "Switch a module or change its settings, whether or not it has any")
        .parameters([tenant_id()])
        .json_body(reference("NewModuleSetting"))
        .answers(201, "Set for the first time.", reference("ModuleSetting"))
        .answers(200, "Changed.", reference("ModuleSetting"));
    doc.operation("post", "/api/modulesettings", upsert);
    let read = op("read", "Read a module setting").parameters([path_id(), tenant_id()]);
    doc.operation("get", "/api/modulesettings/{id}", read.answers(200, "The setting.", reference("ModuleSetting")));
    for (method, verb) in [("put", "replace"), ("patch", "update")] {
        let update = op(verb, "Change a module setting; nothing that the module holds is lost")
            .parameters([path_id(), tenant_id()])
            .json_body(reference("ModuleSettingPatch"))
            .answers(200, "The changed setting.", reference("ModuleSetting"));
        doc.operation(method, "/api/modulesettings/{id}", update);
    }
    let delete = op("delete", "Go back to the default: on, with default settings").parameters([path_id(), tenant_id()]);
    doc.operation("delete", "/api/modulesettings/{id}", delete.answers(200, "Removed.", removed("id")));
}

fn permissions(doc: &mut Document) {
    let body = |required: bool| {
        let mut schema = object(&permission::FIELDS, required);
        if let Some(resource) = schema.pointer_mut("/properties/resource").and_then(Value::as_object_mut) {
            let values: Vec<&str> = std::iter::once("*").chain(GRANTABLE).collect();
            resource.insert("enum".into(), json!(values));
        }
        schema
    };
    let roles = json!({ "roles": { "type": "array", "items": { "type": "string" }, "description": "Custom roles that have it." } });
    doc.schema("Permission", with(with(body(false), shown()), roles));
    doc.schema("NewPermission", body(true));
    doc.schema("PermissionPatch", body(false));
    let op = |verb: &str, summary: &str| Operation::new(format!("permission_{verb}"), "permissions", summary);
    let list = op("list", "List the tenant's permissions").parameters([tenant_id()]).parameters(paging());
    doc.operation("get", "/api/permissions", list.answers(200, "A page.", listed("permissions", "Permission")));
    let create = op("create", "Name a right, to be given to custom roles")
        .parameters([tenant_id()])
        .json_body(reference("NewPermission"));
    doc.operation("post", "/api/permissions", create.answers(201, "Created.", reference("Permission")));
    let read = op("read", "Read a permission").parameters([path_id(), tenant_id()]);
    doc.operation("get", "/api/permissions/{id}", read.answers(200, "The permission.", reference("Permission")));
    for (method, verb) in [("put", "replace"), ("patch", "update")] {
        let update = op(verb, "Change a permission, for every role that has it")
            .parameters([path_id(), tenant_id()])
            .json_body(reference("PermissionPatch"))
            .answers(200, "The changed permission.", reference("Permission"));
        doc.operation(method, "/api/permissions/{id}", update);
    }
    let delete = op("delete", "Remove a permission, also from the roles that have it");
    let delete = delete.parameters([path_id(), tenant_id()]).answers(200, "Removed.", removed("id"));
    doc.operation("delete", "/api/permissions/{id}", delete);
}

fn roles(doc: &mut Document) {
    let texts = || json!({ "type": "array", "items": { "type": "string" } });
    let permission = json!({ "type": "object", "properties": {
        "id": { "type": "string", "format": "uuid" },
        "name": { "type": "string" }, "resource": { "type": "string" }, "action": { "type": "string" }
    } });
    doc.schema(
        "Role",
        json!({ "type": "object", "properties": {
            "name": { "type": "string" },
            "built_in": { "type": "boolean" },
            "users": { "type": "integer", "description": "Active users of the tenant that have it." },
            "permissions": { "type": "array", "description": "Of a custom role.", "items": permission },
            "rights": { "type": "array", "description": "Such as delete:contacts.", "items": { "type": "string" } }
        } }),
    );
    let op = |verb: &str, summary: &str| Operation::new(format!("role_{verb}"), "roles", summary);
    let name = || named("name", "Name of a custom role.");
    let list = op("list", "List the built-in roles and the tenant's own").parameters([tenant_id()]);
    doc.operation("get", "/api/roles", list.answers(200, "All of them.", total("Role", "roles")));
    let mut permissions = texts();
    if let Some(map) = permissions.as_object_mut() {
        map.extend([("minItems".into(), json!(1)), ("maxItems".into(), json!(100))]);
        map.insert("description".into(), "Names or ids.".into());
    }
    let body = json!({ "type": "object", "required": ["permissions"], "properties": { "permissions": permissions } });
    let set = op("set", "Give a custom role exactly these permissions; it takes effect within a second")
        .parameters([name(), tenant_id()])
        .json_body(body)
        .answers(200, "The role.", reference("Role"));
    doc.operation("put", "/api/roles/{name}", set);
    let delete = op("delete", "Remove a custom role, also from its users").parameters([name(), tenant_id()]);
    doc.operation("delete", "/api/roles/{name}", delete.answers(200, "Removed.", removed("name")));
}

fn system_settings(doc: &mut Document) {
    let any = "Any JSON; null where it is secret.";
    doc.schema(
        "SystemSetting",
        with(
            shown_setting(),
            json!({ "value": { "description": any }, "is_secret": { "type": "boolean" },
                    "description": { "type": ["string", "null"] } }),
        ),
    );
    let body = json!({ "type": "object", "properties": {
        "value": { "description": "Any JSON. Of a secret setting it is never shown again; absent or null it stays." },
        "is_secret": { "type": "boolean", "description": "By default true for keys that end like a secret's name." },
        "description": { "type": ["string", "null"], "maxLength": 2000 }
    } });
    let op = |verb: &str, summary: &str| Operation::new(format!("system_setting_{verb}"), "system-settings", summary);
    let key = || named("key", "Key, such as openai_api_key.");
    let list = op("list", "List the platform's settings (superadmins)");
    doc.operation(
        "get",
        "/api/system-settings",
        list.answers(200, "All of them.", total("SystemSetting", "systemsettings")),
    );
    let one = "/api/system-settings/{key}";
    let read = op("read", "Read a setting (superadmins)").parameters([key()]);
    doc.operation("get", one, read.answers(200, "The setting.", reference("SystemSetting")));
    let set = op("set", "Set a setting (superadmins)").parameters([key()]).json_body(body);
    let set = set.answers(201, "Set for the first time.", reference("SystemSetting"));
    doc.operation("put", one, set.answers(200, "Changed.", reference("SystemSetting")));
    let delete = op("delete", "Remove a setting (superadmins)").parameters([key()]);
    doc.operation("delete", one, delete.answers(200, "Removed.", removed("setting_key")));
}

fn shown_setting() -> Value {
    with(
        json!({ "type": "object", "properties": shown() }),
        json!({ "setting_key": { "type": "string" }, "value_set_at": { "type": "string", "format": "date-time" } }),
    )
}
