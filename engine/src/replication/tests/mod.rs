mod chaos;
mod golden;
mod hostile;
mod links;
mod scenarios;
mod world;
