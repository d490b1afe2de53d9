-- Credentials of programs. Kept by SHA-256 only: nothing in the database lets anybody in.
create table token (
  id         uuid primary key,
  sha256     text not null unique check (sha256 ~ '^[0-9a-f]{64}$'),
  -- what it is for
  name       text not null,
  -- `anna`, or `service:ci`, which is nobody and decides nothing
  owner      text not null,
  roles      text[] not null check (roles <@ array['viewer', 'operator', 'approver', 'admin']),
  created_at timestamptz not null,
  created_by text not null,
  expires_at timestamptz not null,
  used_at    timestamptz,
  revoked_at timestamptz,
  revoked_by text,
  check (expires_at > created_at),
  check ((revoked_at is null) = (revoked_by is null))
);
create index token_by_owner on token (owner);

-- As before, and more: whoever makes a service's token has seen it, so what the service asked for counts as asked for by them, too.
create or replace function has_asked_for(wanted uuid, who text) returns boolean language sql stable as $$
  with recursive chain as (
    select id, requester, retry_of from run where id = wanted
    union
    select r.id, r.requester, r.retry_of from chain c
    left join sub_run s on s.run = c.id
    join run r on r.id = any (array[c.retry_of, s.parent])),
  faces as (select who as face union select 'os:' || os_user from person where name = who and os_user is not null)
  select exists (
    select 1 from chain
    where requester in (select face from faces)
       or requester in (select owner from token where owner like 'service:%' and created_by in (select face from faces)))
$$;
