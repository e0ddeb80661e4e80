//! Build script of every firmware here: its own `memory.x`, and the linker script of its runtime crate.
use std::env;

fn main() {
    println!("cargo:rerun-if-changed=memory.x");
    println!("cargo:rustc-link-search={}", env::var("CARGO_MANIFEST_DIR").unwrap());
    let scripts: &[&str] = match env::var("CARGO_CFG_TARGET_ARCH").unwrap().as_str() {
        "aarch64" => &["memory.x", "image.ld"], // aarch64-rt's
        _ => &["link.x"],                       // cortex-m-rt's and riscv-rt's include memory.x
    };
    for script in scripts {
        println!("cargo:rustc-link-arg-bins=-T{script}");
    }
    if env::var_os("CARGO_FEATURE_DEFMT").is_some() {
        println!("cargo:rustc-link-arg-bins=-Tdefmt.x");
    }
    // Segments begin where the script says, not at the next page, and no header ends up in flash.
    println!("cargo:rustc-link-arg-bins=-n");
}
