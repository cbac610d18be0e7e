module {{name}}

go 1.26

require nephometer v0.0.0

replace nephometer => ./nephometer
