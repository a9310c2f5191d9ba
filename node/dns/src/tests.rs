mod cache;
mod golden;
mod naive;
mod property;
