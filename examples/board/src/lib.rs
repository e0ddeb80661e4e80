//! What the example firmware shares: output through semihosting, the end of a run, a heap, and reports of panics and
//! faults. Every line goes to the host's standard error: standard output belongs to defmt's binary frames.
#![no_std]

use core::fmt::{self, Write};
use core::panic::PanicInfo;
#[cfg(target_arch = "arm")]
use cortex_m as _; // implements critical sections, which nothing here names
use semihosting::io::{self, Write as _};

/// Exit status of a run that panicked, as of a Rust program on a host.
pub const PANICKED: i32 = 101;
/// Exit status of a run that ended in a processor fault.
pub const FAULTED: i32 = 70;

/// Ends the run, and the emulator with it.
pub fn exit(status: i32) -> ! {
    semihosting::process::exit(status)
}

/// Prints a line on the host.
#[macro_export]
macro_rules! say {
    ($($arg:tt)*) => { $crate::write_line(format_args!($($arg)*)) };
}

/// Prints `text` and a line feed. A line is gathered first because each semihosting call stops the processor.
pub fn write_line(text: fmt::Arguments) {
    let mut line = Line {
        bytes: [0; 120],
        len: 0,
    };
    // Neither write can be reported anywhere but through the stream that failed.
    let _ = line.write_fmt(text);
    let _ = line.write_str("\n");
    line.flush();
}

struct Line {
    bytes: [u8; 120],
    len: usize,
}

impl Line {
    fn flush(&mut self) {
        if let Ok(mut host) = io::stderr() {
            let _ = host.write_all(&self.bytes[..self.len]);
        }
        self.len = 0;
    }
}

impl Write for Line {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for &byte in text.as_bytes() {
            if self.len == self.bytes.len() {
                self.flush();
            }
            self.bytes[self.len] = byte;
            self.len += 1;
        }
        Ok(())
    }
}

/// FNV-1a: a short fingerprint of bytes too many to print.
pub fn fingerprint(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0x811c_9dc5, |hash, &byte| {
        (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
    })
}

/// The allocator that [`heap!`] gives its memory to.
#[cfg(feature = "heap")]
#[global_allocator]
pub static HEAP: embedded_alloc::LlffHeap = embedded_alloc::LlffHeap::empty();

/// Gives the allocator this many bytes. To be used once, before the first allocation.
#[cfg(feature = "heap")]
#[macro_export]
macro_rules! heap {
    ($bytes:expr) => {{
        static mut MEMORY: [core::mem::MaybeUninit<u8>; $bytes] = [core::mem::MaybeUninit::uninit(); $bytes];
        // SAFETY: nothing else names this memory, and no allocation has been made yet.
        unsafe { $crate::HEAP.init(&raw mut MEMORY as usize, $bytes) }
    }};
}

#[panic_handler]
fn panic(info: &PanicInfo) -> ! {
    say!("{info}");
    exit(PANICKED)
}

/// Executes an instruction that no processor has, so that the fault handler is what reports it.
pub fn fault() -> ! {
    // SAFETY: traps, and does not come back.
    unsafe {
        #[cfg(any(target_arch = "arm", target_arch = "aarch64"))]
        core::arch::asm!("udf #0", options(noreturn));
        #[cfg(target_arch = "riscv32")]
        core::arch::asm!("unimp", options(noreturn));
    }
}

#[cfg(target_arch = "arm")]
#[cortex_m_rt::exception]
unsafe fn HardFault(frame: &cortex_m_rt::ExceptionFrame) -> ! {
    // The address of the fault differs from link to link, its mode and the exception's kind don't.
    say!("HardFault, exception {} was active", frame.xpsr() & 0x1ff);
    exit(FAULTED)
}

#[cfg(target_arch = "riscv32")]
#[unsafe(export_name = "ExceptionHandler")]
fn exception(_: &riscv_rt::TrapFrame) -> ! {
    say!("exception {}", riscv::register::mcause::read().code());
    exit(FAULTED)
}

/// For the handler of synchronous exceptions.
#[cfg(target_arch = "aarch64")]
pub fn fault_seen() -> ! {
    let syndrome: u64;
    // SAFETY: reads a register.
    unsafe { core::arch::asm!("mrs {}, esr_el1", out(reg) syndrome) };
    say!("exception class {:#x}", syndrome >> 26);
    exit(FAULTED)
}

/// Critical sections by masking interrupts, enough for one core.
#[cfg(target_arch = "aarch64")]
mod single_core {
    use core::arch::asm;

    struct Masked;
    critical_section::set_impl!(Masked);

    // SAFETY: no other core runs, and no interrupt comes between acquire and release.
    unsafe impl critical_section::Impl for Masked {
        unsafe fn acquire() -> u64 {
            let before;
            unsafe { asm!("mrs {}, daif", "msr daifset, #2", out(reg) before) };
            before
        }

        unsafe fn release(before: u64) {
            unsafe { asm!("msr daif, {}", in(reg) before) };
        }
    }
}
