//! Tests of answers: accepted and refused rows, arbitrary answers, and bounds.

mod bounds;
mod fixture;
mod properties;
mod rows;
