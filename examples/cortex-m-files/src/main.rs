//! A log in files: littlefs, which is C, on a flash of 32 KB in memory that counts what is done to it.
#![no_main]
#![no_std]

use board::say;
use core::sync::atomic::{AtomicU32, Ordering};
use cortex_m_rt::{entry, exception};
use littlefs2::consts::{U4, U64};
use littlefs2::driver::Storage;
use littlefs2::fs::{DirEntry, Filesystem};
use littlefs2::io::{OpenSeekFrom, Result};
use littlefs2::path;
use littlefs2::path::Path;

const BLOCK: usize = 512;
const BLOCKS: usize = 64;

/// A flash: erased to ones, and a bit once written to zero stays so until the next erase.
struct Flash {
    cells: [u8; BLOCK * BLOCKS],
    written: usize,
}

static ERASES: AtomicU32 = AtomicU32::new(0);

impl Storage for Flash {
    const READ_SIZE: usize = 16;
    const WRITE_SIZE: usize = 16;
    const BLOCK_SIZE: usize = BLOCK;
    const BLOCK_COUNT: usize = BLOCKS;
    const BLOCK_CYCLES: isize = 100;
    type CACHE_SIZE = U64;
    type LOOKAHEAD_SIZE = U4;

    fn read(&mut self, offset: usize, into: &mut [u8]) -> Result<usize> {
        into.copy_from_slice(&self.cells[offset..offset + into.len()]);
        Ok(into.len())
    }

    fn write(&mut self, offset: usize, from: &[u8]) -> Result<usize> {
        for (cell, byte) in self.cells[offset..].iter_mut().zip(from) {
            *cell &= byte;
        }
        self.written += from.len();
        Ok(from.len())
    }

    fn erase(&mut self, offset: usize, length: usize) -> Result<usize> {
        self.cells[offset..offset + length].fill(0xff);
        ERASES.fetch_add(1, Ordering::Relaxed);
        Ok(length)
    }
}

/// Writes a file in pieces, reads it back, and tells what came of it.
fn keep(files: &Filesystem<Flash>, name: &Path, pieces: usize) -> Result<()> {
    let mut sum = 0;
    files.write(name, &[])?;
    for piece in 0..pieces {
        let bytes: [u8; 60] = core::array::from_fn(|i| (i * 7 + piece * 13) as u8);
        sum ^= board::fingerprint(&bytes);
        files.write_chunk(name, &bytes, OpenSeekFrom::End(0))?;
    }
    let length = files.metadata(name)?.len();
    let mut again = 0;
    for piece in 0..pieces {
        let (bytes, _) = files.read_chunk::<60>(name, OpenSeekFrom::Start(60 * piece as u32))?;
        again ^= board::fingerprint(&bytes);
    }
    say!(
        "{}: {length} bytes, same {}",
        name.as_str_ref_with_trailing_nul().trim_end_matches('\0'),
        sum == again
    );
    Ok(())
}

/// Prints a directory and what lies below.
fn list(files: &Filesystem<Flash>, folder: &Path, depth: usize) -> Result<()> {
    files.read_dir_and_then(folder, |entries| {
        for entry in entries {
            let entry: DirEntry = entry?;
            let name = entry.file_name().as_str_ref_with_trailing_nul().trim_end_matches('\0');
            if name == "." || name == ".." {
                continue;
            }
            say!("{:depth$}{name} {}", "", entry.metadata().len());
            if entry.metadata().is_dir() {
                list(files, entry.path(), depth + 2)?;
            }
        }
        Ok(())
    })
}

fn work(files: &Filesystem<Flash>) -> Result<()> {
    files.create_dir_all(path!("/log/2026"))?;
    for (name, pieces) in [
        (path!("/log/2026/may"), 9),
        (path!("/log/2026/june"), 40),
        (path!("/state"), 1),
    ] {
        keep(files, name, pieces)?;
    }
    files.set_attribute(path!("/state"), 7, b"checked")?;
    files.rename(path!("/log/2026/may"), path!("/log/may"))?;
    for round in 0..30_u8 {
        files.write(path!("/counter"), &[round; 100])?;
    }
    list(files, path!("/"), 0)?;
    say!("{} of {} blocks free", files.available_blocks()?, files.total_blocks());
    for (what, result) in [
        ("remove a full folder", files.remove(path!("/log"))),
        ("remove what is not there", files.remove(path!("/nothing"))),
        (
            "fill the disk",
            files.write(path!("/big"), &[0; 3 * BLOCK]).and_then(|()| fill(files)),
        ),
        ("remove it", files.remove(path!("/big"))),
    ] {
        match result {
            Ok(()) => say!("{what}: done"),
            Err(error) => say!("{what}: error {}", error.code()),
        }
    }
    Ok(())
}

fn fill(files: &Filesystem<Flash>) -> Result<()> {
    for _ in 0..2 * BLOCKS {
        files.write_chunk(path!("/big"), &[0x55; BLOCK], OpenSeekFrom::End(0))?;
    }
    Ok(())
}

#[exception]
fn SVCall() {
    say!("supervisor call after {} erases", ERASES.load(Ordering::Relaxed));
}

#[entry]
fn main() -> ! {
    static mut FLASH: Flash = Flash {
        cells: [0; BLOCK * BLOCKS],
        written: 0,
    };
    let mut allocation = Filesystem::allocate();
    let unformatted = Filesystem::mount(&mut allocation, FLASH).map(|_| ());
    say!("before: {:?}", unformatted.map_err(|error| error.code()));
    for start in 1..=2 {
        let result = match start {
            1 => Filesystem::format(FLASH),
            _ => Ok(()),
        };
        let result = result.and_then(|()| {
            Filesystem::mount_and_then(FLASH, |files| match start {
                1 => work(files),
                _ => list(files, path!("/"), 0),
            })
        });
        say!(
            "start {start}: {:?}, {} bytes written",
            result.map_err(|error| error.code()),
            FLASH.written
        );
    }
    // SAFETY: the handler returns as from any function.
    unsafe { core::arch::asm!("svc #0") };
    if cfg!(feature = "panic") {
        Filesystem::mount_and_then(FLASH, |files| files.remove(path!("/nothing"))).expect("asked to panic");
    }
    if cfg!(feature = "fault") {
        board::fault();
    }
    board::exit(0)
}
