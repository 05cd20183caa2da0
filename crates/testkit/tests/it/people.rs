//! An employee and its user are one person.

use aisha_auth::Role;
use aisha_testkit::Stack;
use serde_json::{Value, json};

fn fresh() -> String {
    format!("p-{}@example.test", aisha_kernel::new_id().simple())
}

#[actix_web::test]
async fn names_and_addresses_follow_both_ways() {
    let stack = Stack::platform().await;
    let t = stack.tenant().await;
    let admin = &t.admin.client;
    let (user, employee) =
        (format!("/api/users/{}", t.employee.user_id), format!("/api/employees/{}", t.employee.employee_id));
    let mail = fresh();
    admin.patch(&user, json!({"first_name": "Uma", "email": mail.to_uppercase()})).await.expect(200);
    let shown = admin.get(&employee).await.expect(200).data();
    let expected = (&json!("Uma"), &json!("employee"), &json!(mail), &json!(mail));
    assert_eq!((&shown["first_name"], &shown["last_name"], &shown["email"], &shown["user_email"]), expected);
    assert_eq!(shown["has_crm_access"], true);

    let next = fresh();
    admin.patch(&employee, json!({"last_name": "Vale", "email": next})).await.expect(200);
    let shown = admin.get(&user).await.expect(200).data();
    assert_eq!((&shown["full_name"], &shown["email"]), (&json!("Uma Vale"), &json!(next)));
    let both = format!(
        "SELECT count(*) FROM audit_log WHERE record_id IN ('{}', '{}') AND action = 'update'",
        t.employee.user_id, t.employee.employee_id
    );
    assert_eq!(stack.count(&both).await, 4, "each change is audited on both sides, once");
    let read = admin.get(&employee).await.expect(200).data();
    let same = admin.put(&employee, read.clone()).await.expect(200).data();
    assert_eq!(same["version"], read["version"]);

    // One address for one person, in any case.
    let taken = admin.patch(&employee, json!({"email": t.colleague.email.to_uppercase()})).await.expect(409);
    assert_eq!(taken.fields(), ["email"]);
    assert_eq!(admin.patch(&user, json!({"email": t.colleague.email})).await.expect(409).fields(), ["email"]);
    let other = stack.tenant().await;
    assert_eq!(admin.patch(&employee, json!({"email": other.admin.email})).await.expect(409).fields(), ["email"]);
    assert_eq!(admin.patch(&employee, json!({"email": null})).await.expect(422).fields(), ["email"]);
    let free = json!({"first_name": "No", "last_name": "User", "email": other.admin.email});
    admin.post("/api/employees", free).await.expect(201);
    assert_eq!(admin.get(&user).await.expect(200).data()["email"], next);
    // Somebody without both names keeps what it has.
    let bare = admin.post("/api/users", json!({"email": fresh()})).await.expect(201).data();
    let record = format!("/api/employees/{}", bare["employee_id"].as_str().unwrap());
    admin.patch(&record, json!({"first_name": "Only"})).await.expect(200);
    let bare = admin.get(&format!("/api/users/{}", bare["id"].as_str().unwrap())).await.expect(200).data();
    assert_eq!((&bare["first_name"], &bare["last_name"]), (&json!("Only"), &json!("")));
}

#[actix_web::test]
async fn an_employee_is_linked_by_the_address_of_its_user() {
    let stack = Stack::platform().await;
    let (t, other) = (stack.tenant().await, stack.tenant().await);
    let admin = &t.admin.client;
    let new = |user_email: &str| {
        json!({"tenant_id": t.id, "user_email": user_email, "first_name": "John", "last_name": "Doe",
        "department": "Sales", "title": "Account Executive", "phone": "+1-555-012-3456", "status": "active"})
    };
    for nobody in [fresh(), other.employee.email.clone(), t.employee.email.clone()] {
        let refused = admin.post("/api/employees", new(&nobody)).await.expect(422);
        assert_eq!(refused.fields(), ["user_email"], "{}", refused.text);
    }
    // A user whose record was purged while it was inactive has none.
    let user = format!("/api/users/{}", t.colleague.user_id);
    let record = format!("/api/employees/{}", t.colleague.employee_id);
    let refused = admin.delete(&record).await.expect(409);
    assert!(refused.text.contains("deactivate the user first"), "{}", refused.text);
    let bulk = admin.post("/api/employees/bulk", json!({"delete": [t.colleague.employee_id]})).await;
    bulk.expect(409);
    admin.post(&format!("{user}/deactivate"), json!({})).await.expect(200);
    admin.delete(&record).await.expect(200);
    let same_address = json!({"first_name": "A", "last_name": "B", "email": t.colleague.email});
    assert_eq!(admin.post("/api/employees", same_address).await.expect(409).fields(), ["email"]);
    admin.delete(&format!("/api/employees/trash/{}", t.colleague.employee_id)).await.expect(200);

    let wrong = json!({"first_name": "A", "last_name": "B", "user_email": t.colleague.email, "email": fresh()});
    assert_eq!(admin.post("/api/employees", wrong).await.expect(422).fields(), ["email"]);
    let linked = admin.post("/api/employees", new(&t.colleague.email.to_uppercase())).await.expect(201).data();
    assert_eq!((&linked["user_id"], &linked["email"]), (&json!(t.colleague.user_id), &json!(t.colleague.email)));
    assert_eq!((&linked["has_crm_access"], &linked["job_title"]), (&json!(false), &json!("Account Executive")));
    let shown = admin.get(&user).await.expect(200).data();
    assert_eq!((&shown["full_name"], &shown["employee_id"]), (&json!("John Doe"), &linked["id"]));
    let path = format!("/api/employees/{}", linked["id"].as_str().unwrap());
    for value in [json!(null), json!(fresh())] {
        let body = json!({"user_email": value});
        assert_eq!(admin.patch(&path, body).await.expect(422).fields(), ["user_email"]);
    }
    admin.post(&format!("{user}/reactivate"), json!({})).await.expect(200);
    assert_eq!(admin.get(&path).await.expect(200).data()["has_crm_access"], true);

    // Later, for an employee who had no user.
    let lone = json!({"first_name": "Lone", "last_name": "Worker"});
    let lone = admin.post("/api/employees", lone).await.expect(201).id();
    let path = format!("/api/employees/{lone}");
    assert_eq!(admin.patch(&path, json!({"user_email": fresh()})).await.expect(422).fields(), ["user_email"]);
    // And the other way round: a new user takes over the employee with its address.
    let mail = fresh();
    admin.patch(&path, json!({"email": mail})).await.expect(200);
    let user = admin.post("/api/users", json!({"email": mail, "first_name": "Lona"})).await.expect(201).data();
    assert_eq!(user["employee_id"], json!(lone));
    assert_eq!(admin.get(&path).await.expect(200).data()["first_name"], "Lona");
}

#[actix_web::test]
async fn a_returning_user_gets_its_record_back() {
    let stack = Stack::platform().await;
    let t = stack.tenant().await;
    let admin = &t.admin.client;
    let user = format!("/api/users/{}", t.colleague.user_id);
    let record = format!("/api/employees/{}", t.colleague.employee_id);
    admin.delete(&user).await.expect(200);
    admin.delete(&record).await.expect(200);
    let back = admin.patch(&user, json!({"is_active": true})).await.expect(200).data();
    assert_eq!(back["employee_id"], json!(t.colleague.employee_id));
    admin.delete(&user).await.expect(200);
    admin.delete(&record).await.expect(200);
    admin.delete(&format!("/api/employees/trash/{}", t.colleague.employee_id)).await.expect(200);
    let back = admin.patch(&user, json!({"is_active": true})).await.expect(200).data();
    assert!(back["employee_id"].is_string() && back["employee_id"] != json!(t.colleague.employee_id), "{back}");
}

#[actix_web::test]
async fn a_file_of_employees_links_and_leaves_out() {
    let stack = Stack::platform().await;
    let (t, other) = (stack.tenant().await, stack.tenant().await);
    let admin = &t.admin.client;
    let good = fresh();
    let csv = format!(
        "first_name,last_name,email,user_email,hourly_rate,skills,employment_type,manager_employee_id\n\
         Good,One,{good},,12.50,rust; sql,contractor,{}\n\
         Bad,Link,{},{},,,,\n\
         Same,Person,{},{},,,,\n",
        t.manager.email,
        fresh(),
        other.employee.email,
        t.employee.email,
        t.employee.email,
    );
    let log = admin.import("/api/employees/import", csv.as_bytes(), &[]).await.expect(201).data();
    assert_eq!(
        (&log["success_count"], &log["skipped_count"], &log["error_count"]),
        (&json!(1), &json!(1), &json!(1)),
        "{log}"
    );
    assert_eq!(log["errors"][0]["errors"][0]["field"], "user_email");
    let export = admin.get("/api/employees/export").await.expect(200).text;
    let log = admin.import("/api/employees/import", export.as_bytes(), &[("on_duplicate", "update")]).await;
    let log = log.expect(201).data();
    assert_eq!(
        (&log["updated_count"], &log["error_count"], &log["status"]),
        (&json!(5), &json!(0), &json!("completed")),
        "{log}"
    );
    let made = admin.get(&format!("/api/employees?email={good}")).await.expect(200).data()["employees"][0].clone();
    assert_eq!((&made["hourly_rate"], &made["skills"]), (&json!(12.5), &json!(["rust", "sql"])));
    assert_eq!(made["manager_employee_id"], json!(t.manager.employee_id));
}

#[actix_web::test]
async fn a_personnel_file_is_not_for_colleagues() {
    let stack = Stack::platform().await;
    let t = stack.tenant().await;
    let path = format!("/api/employees/{}", t.colleague.employee_id);
    let body = json!({"hourly_rate": 41.5, "address_1": "1 Elm St", "city": "Springfield", "emergency_contact_name": "Kim",
        "emergency_contact_phone": "+1 555 012 3456", "employee_number": "E-7", "hire_date": "2024-02-29",
        "employment_status": "on_leave", "skills": ["welding"], "manager_employee_id": t.manager.email});
    let saved = t.admin.client.patch(&path, body).await.expect(200).data();
    assert_eq!(
        (&saved["hourly_rate"], &saved["status"], &saved["is_active"]),
        (&json!(41.5), &json!("on_leave"), &json!(false))
    );
    for (person, sees) in [(&t.admin, true), (&t.manager, true), (&t.colleague, true), (&t.employee, false)] {
        let shown = person.client.get(&path).await.expect(200).data();
        let listed = person.client.get("/api/employees?employee_number=E-7").await.expect(200).data();
        for one in [&shown, &listed["employees"][0]] {
            let private = ["hourly_rate", "address_1", "city", "emergency_contact_name", "emergency_contact_phone"];
            assert!(private.iter().all(|f| one[f].is_null() != sees), "{}: {one}", person.role);
            assert_eq!((&one["employee_number"], &one["skills"]), (&json!("E-7"), &json!(["welding"])));
        }
        // Nor by guessing.
        for guess in ["hourly_rate=41.5", "city=Springfield", "sort=hourly_rate"] {
            person.client.get(&format!("/api/employees?{guess}")).await.expect(400);
        }
    }
    let own = json!({"manager_employee_id": t.colleague.employee_id});
    assert_eq!(t.admin.client.patch(&path, own).await.expect(422).fields(), ["manager_employee_id"]);
    let other = stack.tenant().await;
    let theirs = json!({"manager_employee_id": other.manager.employee_id});
    assert_eq!(t.admin.client.patch(&path, theirs).await.expect(422).fields(), ["manager_employee_id"]);
}

/// Whoever writes, past every service: the pair stays equal, and a link across tenants is impossible.
#[actix_web::test]
async fn no_statement_gets_around_it() {
    let stack = Stack::platform().await;
    let (t, other) = (stack.tenant().await, stack.tenant().await);
    stack
        .sql(&format!("UPDATE users SET last_name = 'Direct', is_active = false WHERE id = '{}'", t.employee.user_id))
        .await;
    let row: Value = t.admin.client.get(&format!("/api/employees/{}", t.employee.employee_id)).await.expect(200).data();
    assert_eq!(
        (&row["last_name"], &row["has_crm_access"], &row["status"]),
        (&json!("Direct"), &json!(false), &json!("inactive"))
    );
    let root = aisha_testkit::database::admin().await;
    for statement in [
        format!("UPDATE employees SET user_id = '{}' WHERE id = '{}'", other.colleague.user_id, t.employee.employee_id),
        format!("UPDATE employees SET deleted_at = now() WHERE id = '{}'", t.colleague.employee_id),
        format!(
            "INSERT INTO employees (tenant_id, first_name, last_name, user_email) VALUES ('{}', 'A', 'B', '{}')",
            t.id, other.colleague.email
        ),
    ] {
        assert!(root.batch_execute(&statement).await.is_err(), "{statement}");
    }
    // A manager with the right to write employees would own an admin by changing its address.
    let change = format!(
        "BEGIN; SELECT set_config('app.request', '{{\"role\": \"manager\"}}', true); \
         UPDATE employees SET email = 'mine@example.test' WHERE id = '{}'",
        t.admin.employee_id
    );
    let refused = root.batch_execute(&change).await.unwrap_err();
    assert!(refused.as_db_error().is_some_and(|e| e.message().starts_with("permission denied")), "{refused}");
    root.batch_execute("ROLLBACK").await.unwrap();
    assert_eq!(t.admin.role, Role::Admin);
}
