#!lua
-- post: enqueue jobs that have a sequel; idempotent while the id exists; refused whole when memory
--   is full
-- KEYS jobs
-- ARGV parcels (see drivers/sequel.py) for this queue
-- returns the positions of the jobs whose id exists
-- include _follow

local refused = {}
for i, parcel in ipairs(ARGV) do
  if not send(parcel) then
    refused[#refused + 1] = i
  end
end
return refused
