module nephometer

go 1.26
