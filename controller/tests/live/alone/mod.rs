//! Tests that run alone, because others would disturb them or they would slow down others. They are in one module,
//! so that libtest starts them one after another: each waits until no other test runs.

mod clusters;
mod idle;
mod jobs;
mod releases;
mod tenants;
