//! The series goes up, down and up again, and leaves the same schema.

use aisha_kernel::new_id;
use aisha_testkit::database::{address, admin, migration_turn, with_database};
use std::process::Command;

fn dump(url: &str) -> String {
    let tool = std::fs::read_dir("/usr/lib/postgresql")
        .ok()
        .and_then(|dirs| dirs.flatten().map(|d| d.path().join("bin/pg_dump")).filter(|p| p.exists()).max())
        .unwrap_or_else(|| "pg_dump".into());
    let out = Command::new(tool).args(["--schema-only", "--no-comments", "--dbname", url]).output().unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let text = String::from_utf8(out.stdout).unwrap();
    // Newer tools guard the dump with a random word.
    text.lines()
        .filter(|l| !l.starts_with("\\restrict") && !l.starts_with("\\unrestrict"))
        .map(|l| format!("{l}\n"))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn up_down_up_leaves_the_same_schema() {
    let _turn = migration_turn().await;
    let admin = admin().await;
    let name = format!("aisha_migrations_{}", new_id().simple());
    admin.batch_execute(&format!("CREATE DATABASE {name} OWNER aisha_owner")).await.unwrap();
    let owner = with_database(&address("DATABASE_OWNER_URL"), &name);
    let as_admin = with_database(&address("DATABASE_ADMIN_URL"), &name);
    admin.batch_execute(&format!("ALTER DATABASE {name} SET timezone = 'UTC'")).await.unwrap();
    aisha_testkit::database::connect(&as_admin)
        .await
        .batch_execute("ALTER SCHEMA public OWNER TO aisha_owner")
        .await
        .unwrap();

    let ran = aisha_db::migrate::up(&owner).await.unwrap();
    assert!(ran.len() >= 5);
    let first = dump(&as_admin);
    assert!(aisha_db::migrate::up(&owner).await.unwrap().is_empty(), "a second run has nothing to do");
    assert_eq!(dump(&as_admin), first, "and changes nothing");

    let mut before = vec![first.clone()];
    for _ in 0..ran.len() {
        aisha_db::migrate::down(&owner, 1).await.unwrap();
        before.push(dump(&as_admin));
    }
    assert!(aisha_db::migrate::status(&owner).await.unwrap().iter().all(|(_, applied)| !applied));
    assert!(!before.last().unwrap().contains("CREATE TABLE public.contacts"));
    let again = aisha_db::migrate::up(&owner).await.unwrap();
    assert_eq!(again.len(), ran.len());
    assert_eq!(dump(&as_admin), first);
    admin.batch_execute(&format!("DROP DATABASE {name} WITH (FORCE)")).await.unwrap();
}
