//! A tour of what programs ask of a system: see test_languages.py.
use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::io::{BufRead, Result};
use std::time::{Duration, Instant, SystemTime};
use std::{env, fs, io, process, thread};

fn names() -> Result<String> {
    let mut found: Vec<String> = fs::read_dir("/tour")?
        .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
        .collect::<Result<_>>()?;
    found.sort();
    Ok(found.iter().map(|name| format!(" {name}")).collect())
}

fn word(is: bool) -> &'static str {
    if is {
        "yes"
    } else {
        "no"
    }
}

/// The standard library keeps its random numbers to itself, but begins each of these with one.
fn chance() -> u64 {
    RandomState::new().build_hasher().finish()
}

fn main() -> Result<()> {
    let arguments: String = env::args().skip(1).map(|each| format!(" <{each}>")).collect();
    println!("arguments:{arguments}");
    println!("environment: {}", env::var("WHO").unwrap());
    for line in io::stdin().lock().lines() {
        println!("input: {}", line?);
    }
    eprintln!("an error");

    fs::create_dir("/tour/sub")?;
    fs::write("/tour/sub/one", "content")?;
    fs::rename("/tour/sub/one", "/tour/two")?;
    let size = fs::metadata("/tour/two")?.len();
    println!("file: {}, {size} bytes", fs::read_to_string("/tour/two")?);
    println!("names:{}", names()?);
    fs::remove_file("/tour/two")?;
    fs::remove_dir("/tour/sub")?;
    println!("then:{}", names()?);
    let elsewhere = fs::metadata("/tour/../etc/passwd").is_ok();
    println!("elsewhere: {}", if elsewhere { "there" } else { "nothing" });

    let start = Instant::now();
    thread::sleep(Duration::from_millis(10));
    println!("slept: {}", word(start.elapsed() >= Duration::from_millis(10)));
    let date = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    println!("date: {}", word(date.as_secs() > 1_700_000_000));
    println!("chance: {}", word(chance() != chance()));
    process::exit(7);
}
