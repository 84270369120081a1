//! The downloader.

fn main() {}
