//! Black-box and cross-crate tests, one module per behaviour, in one binary. The servers, browsers and faults they run
//! against come from `tidegate-test-fixtures`.
