mod golden;
mod objects;
mod property;
mod scale;
