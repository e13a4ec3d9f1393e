%% Round trips between two Erlang processes.
%%
%% Each line on standard input is a number of round trips; each line of output
%% is the nanoseconds they took and the sum of all answers. A message is the
%% sender, a number and 24 bytes; the answer is the number plus one and them.
-module(pingpong).
-export([main/0]).

main() ->
    Pong = spawn(fun pong/0),
    serve(Pong, binary:copy(<<7>>, 24)).

serve(Pong, Payload) ->
    case io:get_line("") of
        eof -> halt(0);
        {error, _} -> halt(1);
        Line ->
            Count = list_to_integer(string:trim(Line)),
            Start = erlang:monotonic_time(nanosecond),
            Sum = ping(Pong, Payload, 0, Count, 0),
            Time = erlang:monotonic_time(nanosecond) - Start,
            io:format("~b ~b~n", [Time, Sum]),
            serve(Pong, Payload)
    end.

ping(_, _, Count, Count, Sum) -> Sum;
ping(Pong, Payload, I, Count, Sum) ->
    Pong ! {self(), I, Payload},
    receive
        {Pong, Value, Payload} -> ping(Pong, Payload, I + 1, Count, Sum + Value)
    end.

pong() ->
    receive
        {From, Value, Payload} -> From ! {self(), Value + 1, Payload}
    end,
    pong().
