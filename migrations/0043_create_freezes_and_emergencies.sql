-- Windows in which nothing is promoted or maintained: everywhere, or, with a flow, in its runs, of which none is made by a tick either.
create table freeze_window (
  id         uuid primary key,
  flow       text,
  from_at    timestamptz not null,
  until_at   timestamptz not null,
  reason     text not null,
  created_by text not null,
  created_at timestamptz not null,
  ended_at   timestamptz,
  ended_by   text,
  check (until_at > from_at),
  check ((ended_at is null) = (ended_by is null))
);

-- Runs that go before everything else. They start when a second person has said yes.
create table emergency (
  run          uuid primary key references run,
  reason       text not null,
  confirmed_by text,
  confirmed_at timestamptz,
  check ((confirmed_by is null) = (confirmed_at is null))
);
alter table run add column urgent boolean not null default false;
