#![no_std]
#![crate_type = "lib"]
pub static WORDS: [&str; 3] = ["one", "two", "three"];
#[unsafe(no_mangle)] pub fn choose(i: usize) -> &'static str { WORDS[i] }
#[unsafe(no_mangle)] pub fn word(i: u32) -> &'static str { match i { 0 => "zero", 1 => "one", 2 => "two", 3 => "three", _ => "many" } }
