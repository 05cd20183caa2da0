use super::*;
use crate::{AmqpSection, DatabaseSection, HttpSection, LogFormat, LogSection, RedisSection};
use secrecy::ExposeSecret;

#[test]
fn all_problems_come_at_once_and_without_values() {
    let env = Env::from_map([
        ("JWT_SECRET", "your-secure-random-string-here"),
        ("INTERNAL_SIGNING_KEY", "short"),
        ("DATABASE_URL", "mysql://u:p@h/db"),
        ("DATABASE_OWNER_URL", "postgres://aisha_owner:changeme@h/db"),
        ("REDIS_URL", "not a url"),
        ("RATE_LIMIT_MAX", "many"),
        ("GATEWAY_LISTEN", "nowhere"),
        ("LOG_FORMAT", "xml"),
    ]);
    env.secret("JWT_SECRET", 32);
    env.secret("INTERNAL_SIGNING_KEY", 32);
    env.secret("CREDENTIALS_KEY", 32);
    DatabaseSection::read(&env);
    RedisSection::read(&env);
    env.number_or("RATE_LIMIT_MAX", 120_u32);
    HttpSection::read(&env, "GATEWAY_LISTEN", "127.0.0.1:4001");
    LogSection::read(&env);
    let text = env.finish().expect_err("problems").to_string();
    for (line, start) in text.lines().skip(1).zip([
        "JWT_SECRET: still has its placeholder",
        "INTERNAL_SIGNING_KEY: is too short: at least 32 bytes",
        "CREDENTIALS_KEY: is not set",
        "DATABASE_URL: must start with postgres:// or postgresql://",
        "DATABASE_OWNER_URL: still has its placeholder password",
        "REDIS_URL: is not a URL",
        "RATE_LIMIT_MAX: is not a number",
        "GATEWAY_LISTEN: must be ip:port",
        "LOG_FORMAT: must be one of pretty, json",
    ]) {
        assert!(line.starts_with(start), "{line:?} should start with {start:?}");
    }
    assert_eq!(text.lines().count(), 10);
    for value in ["your-secure-random", "short\n", "mysql", "not a url", "many", "nowhere"] {
        assert!(!text.contains(value), "{value} leaked into {text}");
    }
}

#[test]
fn good_values_pass() {
    let env = Env::from_map([
        ("JWT_SECRET", "k3J9sd0fKJH23kjhsdf98KJHsdf0982lkj"),
        ("DATABASE_URL", "postgres://aisha_login:Zk29d@127.0.0.1:15432/aisha"),
        ("REDIS_URL", "redis://127.0.0.1:16379"),
        ("AMQP_URL", "amqp://guest:guest@127.0.0.1:15673"),
        ("ALLOWED_ORIGINS", " http://a, ,http://b "),
        ("LOG_FORMAT", "JSON"),
        ("PRODUCTION_READONLY", "Yes"),
        ("PUBLIC_URL", "http://127.0.0.1:4001/"),
        ("RATE_LIMIT_WINDOW_MS", "1500"),
        ("EMPTY", "  "),
    ]);
    assert_eq!(env.secret("JWT_SECRET", 32).expose_secret().len(), 34);
    let db = DatabaseSection::read(&env);
    assert_eq!(db.url.expose_secret(), "postgres://aisha_login:Zk29d@127.0.0.1:15432/aisha");
    assert!(db.owner_url.is_none());
    assert_eq!(db.pool_size, 8);
    RedisSection::read(&env);
    AmqpSection::read(&env);
    assert_eq!(LogSection::read(&env).format, LogFormat::Json);
    assert!(LogSection::read(&env).performance, "unless it is switched off");
    assert!(!LogSection::read(&Env::from_map([("ENABLE_PERFORMANCE_LOGGING", "false")])).performance);
    assert_eq!(env.list("ALLOWED_ORIGINS"), ["http://a", "http://b"]);
    assert_eq!(env.list("NONE"), Vec::<String>::new());
    assert!(env.flag("PRODUCTION_READONLY", false));
    assert_eq!(env.url("PUBLIC_URL", &["http", "https"]), "http://127.0.0.1:4001");
    assert_eq!(env.millis_or("RATE_LIMIT_WINDOW_MS", Duration::from_secs(60)), Duration::from_millis(1500));
    assert_eq!(env.optional("EMPTY"), None);
    assert_eq!(HttpSection::read(&env, "X_LISTEN", "127.0.0.1:4010").listen.port(), 4010);
    env.finish().expect("no problems");
}

#[test]
fn placeholders() {
    for bad in
        ["changeme", "ChangeMe-123", "<secret>", "aaaaaaaaaaaaaaaa", "password", "your-secure-random-string-here"]
    {
        assert!(is_placeholder(bad), "{bad}");
    }
    for good in ["Zk29d", "Tr0ub4dor&3", "b3BlbnNzbCByYW5kIC1iYXNlNjQgNDg="] {
        assert!(!is_placeholder(good), "{good}");
    }
}

#[test]
fn debug_shows_no_values() {
    let env = Env::from_map([("JWT_SECRET", "k3J9sd0fKJH23kjhsdf98KJHsdf0982lkj")]);
    assert!(!format!("{env:?}").contains("k3J9"));
    assert!(!format!("{:?}", env.secret("JWT_SECRET", 8)).contains("k3J9"));
}
