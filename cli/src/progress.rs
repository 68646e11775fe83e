//! A bar on a terminal for files that take a while.

use indicatif::{ProgressBar, ProgressStyle};
use std::io::{self, IsTerminal, Read};

/// Shorter files are read before anybody looks.
const LONG: u64 = 64 << 20;

/// A reader that shows how far it is, if the file is long and somebody is there to see.
pub struct Progress<R> {
    inner: R,
    bar: Option<ProgressBar>,
}

impl<R: Read> Progress<R> {
    /// Reads `inner`, of `total` bytes.
    pub fn new(inner: R, total: u64) -> Progress<R> {
        let bar = (total >= LONG && io::stderr().is_terminal()).then(|| {
            let bar = ProgressBar::new(total);
            let style = "{bar:40} {bytes}/{total_bytes} {binary_bytes_per_sec} {eta}";
            bar.with_style(
                ProgressStyle::with_template(style)
                    .unwrap_or_else(|_| ProgressStyle::default_bar()),
            )
        });
        Progress { inner, bar }
    }
}

impl<R: Read> Read for Progress<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        if let Some(bar) = &self.bar {
            bar.inc(count as u64);
        }
        Ok(count)
    }
}

impl<R> Drop for Progress<R> {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
