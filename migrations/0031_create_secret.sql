-- Secrets, sealed by the program (AES-256-GCM); `key` says with which key, not the key.
create table secret (
  name       text primary key check (name ~ '^[A-Za-z_][A-Za-z0-9_]{0,99}$'),
  key        text not null,
  nonce      bytea not null,
  bytes      bytea not null,
  created_at timestamptz not null,
  updated_at timestamptz not null,
  updated_by text not null
);
