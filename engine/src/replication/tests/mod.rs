mod chaos;
mod golden;
mod scenarios;
mod world;
