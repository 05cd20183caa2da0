//! The migrations are compiled in; a new or changed one must lead to a new build.

fn main() {
    println!("cargo:rerun-if-changed=../../migrations");
    println!("cargo:rerun-if-changed=../../sql");
}
