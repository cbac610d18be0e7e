//! Verifies the signatures of metering messages, one JSON object per line, as a receiver does.
//!
//! ```sh
//! cargo run -p nephometer-wire --example verify -- 'the telemetry_secret' < messages.ndjson
//! ```

use std::error::Error;
use std::io::{Write, stdin, stdout};

use nephometer_model::Secret;
use nephometer_wire::{SignatureForm, Signer};

fn main() -> Result<(), Box<dyn Error>> {
    let secret = std::env::args().nth(1).ok_or("usage: verify SECRET")?;
    let signer = Signer::new(&Secret::new(secret), SignatureForm::Python3);
    let mut wrong = 0;
    for (number, line) in stdin().lines().enumerate() {
        let message = serde_json::from_str(&line?)?;
        if let Err(error) = signer.verify(&message) {
            writeln!(stdout(), "line {}: {error}", number + 1)?;
            wrong += 1;
        }
    }
    if wrong > 0 {
        return Err(format!("{wrong} messages are not authentic").into());
    }
    writeln!(stdout(), "ok")?;
    Ok(())
}
