-- Sends the heads of a file in turn and prints what was counted as one line of JSON.
-- Where all that is sent is alike, wrk is told once and calls nothing for a request: a client that takes longer
-- has fewer requests under way, and a server that answers many in one turn then pays more for each.
-- usage: wrk -s replay.lua URL -- FILE DEPTH COUNTED
--    DEPTH    so many heads go out together
--    COUNTED  1: a number of its own ends the last field of every head, so that no two are alike

local BLANK = "\r\n\r\n"
local batches, at, turn, tail = {}, 0, 10000000, ""

function init(args)
   local file = assert(io.open(args[1], "rb"))
   local text, depth, batch = file:read("*a"), tonumber(args[2]), {}
   file:close()
   if args[3] == "1" then tail = BLANK end
   for head in text:gmatch("(.-)\r\n\r\n") do
      batch[#batch + 1] = head
      if #batch == depth then
         batches[#batches + 1] = table.concat(batch, BLANK) .. (tail == "" and BLANK or "")
         batch = {}
      end
   end
   if tail ~= "" then
      request = counted
   elseif #batches > 1 then
      request = next_batch
   else
      wrk.format = function() return batches[1] end
   end
end

function next_batch()
   at = at % #batches + 1
   return batches[at]
end

function counted()
   at, turn = at % #batches + 1, turn + 1
   return batches[at] .. turn .. tail
end

function done(summary, latency)
   local errors = summary.errors
   io.write(string.format(
      '{"requests": %d, "seconds": %.6f, "octets": %.0f, "p50_us": %.0f, "p99_us": %.0f,'
      .. ' "connect_errors": %d, "read_errors": %d, "write_errors": %d, "timeouts": %d, "refused": %d}\n',
      summary.requests, summary.duration / 1e6, summary.bytes,
      latency:percentile(50), latency:percentile(99),
      errors.connect, errors.read, errors.write, errors.timeout, errors.status))
end
