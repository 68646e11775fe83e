mod chaos;
mod golden;
mod hostile;
mod scenarios;
mod world;
