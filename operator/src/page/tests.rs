mod escaping;
mod http;
mod limits;
mod objects;
mod privacy;
mod views;
